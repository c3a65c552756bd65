"""Causal tracing in numbers: what the model gives the answer, and what restoring one state or one window gives back.

Means over prompts, x 100. Effects are differences from the corrupted run; a score is the probability itself, the best
score of a prompt is the largest of any layer (and token). The layer is that of the largest effect here and, where the
paper names another for this model, the paper's. PAPER: ROME Sec. 2.2, the numbers in the text on Fig. 2.
"""

import re

import numpy as np
import pandas as pd

from engram.drawing import published_numbers, style, trace_tables
from engram.evaluation import indirect_effects
from engram.job import arguments

QUOTED = {"table": "text", "dataset": "known"}
WHERE = ("Last subject token", "Last token")


def table(scores: pd.DataFrame, traced: pd.DataFrame, model: str, layers: dict) -> pd.DataFrame:
    """A row per number: model, row, column, value and ci times 100, count. `layers`: (site, category) -> layers that
    are shown besides the one with the largest effect.
    """
    rows = []
    for column, values in (
        ("clean", traced["clean"]),
        ("corrupted", traced["corrupted"]),
        ("total effect", traced["clean"] - traced["corrupted"]),
    ):
        rows.append(("prompts", column, values.mean(), 1.96 * values.std(ddof=0) / np.sqrt(len(values)), len(values)))
    for site in style.SITES:
        cells, numbers = (
            indirect_effects.average_effects(scores, traced, site),
            indirect_effects.summary(scores, traced, site),
        )
        for category in [name for name in WHERE if (cells["category"] == name).any()]:
            name, own = f"{site}, {category.lower()}", cells[cells["category"] == category].set_index("layer")
            peak = own["indirect_effect"].idxmax()
            for layer in dict.fromkeys([peak, *layers.get((site, category), [])]):
                at = own.loc[layer]
                rows.append((name, f"indirect effect, layer {layer}", at["indirect_effect"], at["ci"], at["count"]))
                rows.append((name, f"score, layer {layer}", at["mean_score"], at["ci"], at["count"]))
        for where in (*WHERE, "any token"):
            best = numbers.loc[numbers["name"] == f"best score: {where}", "value"]
            rows += [
                (f"{site}, {where.lower()}", "best score of each prompt", value, np.nan, len(traced)) for value in best
            ]
    frame = pd.DataFrame(rows, columns=["row", "column", "value", "ci", "count"]).astype({"count": "int64"})
    frame[["value", "ci"]] *= 100
    return frame.assign(model=model)[["model", "row", "column", "value", "ci", "count"]]


def quoted_layers(known: pd.DataFrame) -> dict:
    """(site, category) -> the layers of which the paper gives a number."""
    found: dict = {}
    for row, column in zip(known["row"], known["column"]):
        site, _, where = row.partition(", ")
        for layer in re.findall(r"layer (\d+)$", column):
            found.setdefault((site, where.capitalize()), []).append(int(layer))
    return {key: sorted(set(layers)) for key, layers in found.items()}


def compared(frame: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """`table`'s frame beside the paper's numbers, if it has any for this model. The paper names no layer where an
    effect is the largest at all: it stands beside the largest here.
    """
    if known.empty:
        return frame
    known = known.copy()
    for place in known.index[known["column"] == "indirect effect"]:
        same = (frame["row"] == known.loc[place, "row"]) & frame["column"].str.startswith("indirect effect")
        known.loc[place, "column"] = frame.loc[same, "column"].iloc[0]
    return published_numbers.joined(frame, known, ["row", "column"])


def draw(frame: pd.DataFrame) -> str:
    """The frame as a Markdown table, sites under the names that figures give them."""
    beside = "published" in frame
    lines = [
        "| What | Number | Value |" + (" Published | Difference |" if beside else ""),
        "| --- | --- | ---: |" + (" ---: | ---: |" if beside else ""),
    ]
    for row in frame.itertuples():
        site, _, where = row.row.partition(", ")
        what = f"{style.SITES[site].title}, {where}" if site in style.SITES else row.row.capitalize()
        own = f"{row.value:.1f}" if pd.isna(row.ci) else f"{row.value:.1f} ({row.ci:.1f})"
        paper = [f"{row.published:.3g}", f"{row.difference:+.1f}"] if beside and pd.notna(row.published) else ["–", "–"]
        lines.append(f"| {' | '.join([what, row.column, own, *(paper if beside else [])])} |")
    counts = frame.groupby("column", sort=False)["count"].max()
    sources = f" Published: {'; '.join(filter(None, frame['source'].unique()))}." if beside else ""
    return "\n".join(lines) + (
        f"\n\nPrompts: {counts['clean']:,}. In parentheses: 95% confidence interval, as ±.{sources}\n"
    )


def main(argv=None):
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["effects*", "traced*", "published?"], outputs=["csv", "md"], keys=["model"]
    )
    model = job.keys.model
    known = (
        published_numbers.read(job.inputs.published, paper="rome", model=model, **QUOTED)
        if job.inputs.published
        else pd.DataFrame()
    )
    scores, traced = trace_tables.read(job.inputs, trace_tables.SITES, most=1)
    layers = {} if known.empty else quoted_layers(known)
    frame = compared(table(scores, traced, model, layers), known)
    job.write("csv", frame)
    job.write("md", draw(frame))


if __name__ == "__main__":
    main()
