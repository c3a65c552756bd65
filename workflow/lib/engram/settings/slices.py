"""What one job gets of the parameter file, and which keys of the file that is. Pure functions on its contents."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from engram.settings import items

LOADED = (
    "hub",
    "revision",
    "convert",
    "gguf",
    "dtype",
    "devices",
)  # keys of a model's block: which checkpoint is loaded, and how


class Derived(NamedTuple):
    """A value that a rule derives from the parameter file, and the dotted keys of the file that it was derived from."""

    value: Any
    keys: Iterable[str]


class Slice(str):
    """The settings of one job as JSON text, which is what the command line of its script gets.

    `keys`: the dotted keys of params.yaml that decide the text and which files the job reads, each once, as
    `models.mini.noise`; DVC watches them.
    """

    keys: tuple[str, ...]

    def __new__(cls, settings: dict, keys: Iterable[str]) -> "Slice":
        """The text of `settings`, with `keys`."""
        text = super().__new__(cls, json.dumps(settings))
        text.keys = tuple(dict.fromkeys(keys))
        return text


def threads_of(values: dict, stage: str) -> int:
    """Torch threads of the jobs of a stage."""
    return values["run"].get("threads_of", {}).get(stage, values["run"]["threads"])


def slice_of(
    values: dict,
    stage: str,
    model: str,
    *keys: str,
    torch: bool = True,
    chosen: Derived | None = None,
    decided_by: Iterable[str] = (),
    **more: Derived,
) -> Slice:
    """The part of the file that one job of a stage depends on: seed, the stage's section, and `keys` of the model's
    block.

    A job with a model (`torch`) also depends on how torch runs, on what is loaded and how. `chosen`: which records are
    edited, where that is not the model's number. `more`: sections, or what takes the place of one. `decided_by`: dotted
    keys that the settings do not hold and that decide which files the job reads, or that there is such a job.
    """
    keys += LOADED if torch and stage != "train" else ()
    block = {key: values["models"][model][key] for key in keys if key in values["models"][model]}
    used = ["seed", *(f"models.{model}.{key}" for key in block)]
    settings: dict[str, Any] = {"seed": values["seed"], "model": {"name": model} | block}
    if chosen:
        settings["model"]["records"] = block["records"] | chosen.value
        used += chosen.keys
    if torch:
        settings["run"] = {"threads": threads_of(values, stage), "device": values["run"]["device"]}
        used += [f"run.{key}" for key in ("threads", "threads_of", "device") if key in values["run"]]
    if stage in values:
        settings[stage] = items.section(values[stage], model) if stage in items.BY_MODEL else values[stage]
        used += items.section_keys(values, stage, model) if stage not in more else []
    for name, derived in more.items():
        settings[name] = derived.value
        used += derived.keys
    return Slice(settings, [*used, *decided_by])
