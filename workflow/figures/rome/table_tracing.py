"""Causal tracing in numbers: what the model gives the answer, and what restoring one state or one window gives back.

Means over prompts, x 100. Effects are differences from the corrupted run; a score is the probability itself, the best
score of a prompt is the largest of any layer (and token). The layer is that of the largest effect here and, where the
paper names another for this model, the paper's. PAPER: ROME Sec. 2.2, the numbers in the text on Fig. 2.
"""

import re
from collections.abc import Callable
from typing import Any

import pandas as pd

from engram.drawing import items, published_numbers, style
from engram.evaluation.derivation import KEY, Choice, Derivation, Job, Number, Tables
from engram.evaluation.indirect_effects import BEST_SCORES, CELLS, EFFECT, MEAN_SCORE, PROMPTS, categorised, cells

QUOTED = {"table": "text", "dataset": "known"}
WHERE = ("Last subject token", "Last token")


def _of_prompts(number: Callable[[str], Number]) -> dict[str, Number]:
    return {name: number(name) for name in ("clean", "corrupted", "total effect")}


VALUE = 100 * Choice(
    "quantity",
    {
        **_of_prompts(PROMPTS.mean),
        "indirect effect": EFFECT,
        "score": MEAN_SCORE,
        **{f"best score: {where}": number for where, number in BEST_SCORES.items()},
    },
)
CI = 100 * Choice(
    "quantity",
    {**_of_prompts(PROMPTS.half_width), **dict.fromkeys(("indirect effect", "score"), CELLS.half_width("score"))},
)
COUNT = Choice(
    "quantity",
    {
        **_of_prompts(PROMPTS.count),
        **dict.fromkeys(("indirect effect", "score"), CELLS.count()),
        **{f"best score: {where}": PROMPTS.count() for where in BEST_SCORES},
    },
)
COLUMNS = {
    **dict.fromkeys(("model", "row", "column"), KEY),
    "value": VALUE,
    "ci": CI,
    "count": COUNT,
    **published_numbers.columns(("row", "in_paper"), VALUE, CI),
}


def prepare(tables: Tables, job: Job) -> dict[str, Any]:
    """The effects with the categories of their tokens, the total effect of every prompt, and what the paper quotes."""
    paper = None
    if "published" in tables:
        paper = published_numbers.of(tables["published"], paper="rome", model=job.keys.model, **QUOTED)
        paper = paper.rename(columns={"column": "in_paper"}) if len(paper) else None
    traced = tables["traced"]
    return {
        **categorised(tables, style.SITES, most=1),
        "traced": traced.assign(**{"total effect": traced["clean"] - traced["corrupted"]}),
        "published": paper,
    }


def rows(tables: Tables, job: Job) -> pd.DataFrame:
    """A row per number, with the keys of its cell. The layers are that of the largest effect and those that the paper
    names. It names no layer (`in_paper`) where an effect is the largest at all: that stands beside the largest here.
    """
    keys = cells(tables["effects"], style.SITES)
    effects = EFFECT.compute(keys, tables)
    quoted = tables["published"] if "published" in tables else pd.DataFrame(columns=["row", "in_paper"])
    unnamed = set(quoted.loc[quoted["in_paper"] == "indirect effect", "row"])
    layers = quoted_layers(quoted)
    numbers = [{"row": "prompts", "column": name, "quantity": name} for name in ("clean", "corrupted", "total effect")]
    for site in style.SITES:
        categories = [where for where in WHERE if ((keys["site"] == site) & (keys["category"] == where)).any()]
        for where in categories:
            row, of_cells = f"{site}, {where.lower()}", (keys["site"] == site) & (keys["category"] == where)
            peak = keys["layer"][effects[of_cells].idxmax()]
            for layer in dict.fromkeys([peak, *layers.get((site, where), [])]):
                cell = {"row": row, "site": site, "category": where, "layer": layer}
                for name in ("indirect effect", "score"):
                    unnamed_here = name == "indirect effect" and layer == peak and row in unnamed
                    about = {"quantity": name, "column": f"{name}, layer {layer}"}
                    numbers.append(cell | about | ({"in_paper": name} if unnamed_here else {}))
        for where in (*categories, "any token"):
            about = {"quantity": f"best score: {where}", "column": "best score of each prompt"}
            numbers.append({"row": f"{site}, {where.lower()}", "site": site} | about)
    frame = pd.DataFrame(numbers).assign(model=job.keys.model, variant=tables["traced"]["variant"].iloc[0])
    in_paper = frame["in_paper"] if "in_paper" in frame else pd.Series(None, frame.index, dtype=object)
    return frame.astype({"layer": "Int64"}).assign(in_paper=in_paper.fillna(frame["column"]))


def quoted_layers(quoted: pd.DataFrame) -> dict[tuple[str, str], list[int]]:
    """(site, category) -> the layers of which the paper gives a number."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for row, column in zip(quoted["row"], quoted["in_paper"]):
        site, _, where = row.partition(", ")
        for layer in re.findall(r"layer (\d+)$", column):
            numbers.setdefault((site, where.capitalize()), []).append(int(layer))
    return {key: sorted(set(layers)) for key, layers in numbers.items()}


DERIVATION = Derivation(COLUMNS, rows, prepare)


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


def main(argv=None) -> None:
    """Write the csv and the Markdown of the table."""
    items.table(__file__, __doc__, argv, ["effects*", "traced*", "published?"], DERIVATION, draw)


if __name__ == "__main__":
    main()
