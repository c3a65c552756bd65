"""What every item of a paper does: its numbers from its declaration, then its picture or its text from the numbers."""

import csv
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from engram.evaluation.derivation import Derivation, Tables
from engram.job import arguments


def numbers(job: arguments.Job, derivation: Derivation) -> pd.DataFrame:
    """Every number of the item, from the inputs of its job."""
    return derivation.compute(Tables(vars(job.inputs)), job)


def nothing(config: dict) -> tuple:
    """No settings: a picture that its numbers decide alone."""
    return ()


def window(config: dict) -> tuple[int]:
    """How many layers around one a window of restored modules has."""
    return (config["model"]["trace_window"],)


def window_and_variants(config: dict) -> tuple[int, dict[str, dict]]:
    """The window, and what each variant of tracing corrupts."""
    return (*window(config), config["variants"])


def figure(
    script: str,
    doc: str | None,
    argv: list[str] | None,
    inputs: Sequence[str],
    derivation: Derivation,
    draw: Callable[..., Figure],
    settings: Callable[[dict], tuple[Any, ...]] = nothing,
    texts: bool = False,
) -> None:
    """The command line of a figure (see arguments.parse) and its files: `draw(numbers, *settings(config))` as pdf and
    png, and the numbers as csv. `texts`: every field of the csv is quoted, for a lone carriage return inside a text
    would otherwise end the row for some readers.
    """
    job = arguments.parse(script, doc, argv, inputs=inputs, outputs=["pdf", "png", "csv"], keys=["model"])
    frame = numbers(job, derivation)
    picture = draw(frame, *settings(job.config))
    quoted = frame.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_ALL).encode() if texts else None
    for name, value in (("pdf", picture), ("png", picture), ("csv", frame if quoted is None else quoted)):
        job.write(name, value)


def table(
    script: str,
    doc: str | None,
    argv: list[str] | None,
    inputs: Sequence[str],
    derivation: Derivation,
    draw: Callable[[pd.DataFrame], str],
) -> None:
    """The command line of a table and its files: the numbers as csv, and `draw(numbers)` as Markdown."""
    job = arguments.parse(script, doc, argv, inputs=inputs, outputs=["csv", "md"], keys=["model"])
    frame = numbers(job, derivation)
    job.write("csv", frame)
    job.write("md", draw(frame))
