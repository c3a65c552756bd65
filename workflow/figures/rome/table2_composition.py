"""What the CounterFact records of a model are made of: distinct ones in all, on average in one relation, and in one
record.

Subjects and prompts are counted as different strings, objects are those that an edit writes; a statement is the prompt
of an edit with its subject. PAPER: ROME Table 2.
"""

import operator
from typing import Any

import numpy as np
import pandas as pd

from engram.drawing import items, published_numbers
from engram.evaluation.derivation import KEY, Choice, Derivation, Formula, Job, Number, Rows, Tables

SHOWN = ("total", "per relation", "per record")
TABLE = {"paper": "rome", "table": "Table 2"}


THINGS = Rows("things", by=("row",), of_input="facts")


def _per(key: str) -> Number:
    """How many in one relation or record on average: different things in each, summed, over the number of those."""
    in_each = THINGS.each(
        lambda part: part.groupby(key)["thing"].nunique().sum(), "sum of the numbers in each", "thing", key
    )
    every = Rows("facts").of_column(lambda values: values.nunique(), "number of different values", key)
    return Formula("{} over {}", operator.truediv, (in_each, every))


VALUE = Choice(
    "column",
    {
        "total": THINGS.of_column(lambda values: values.nunique(), "number of different values", "thing"),
        "per relation": _per("relation_id"),
        "per record": _per("case_id"),
    },
)
COLUMNS = {
    **dict.fromkeys(("model", "row", "column"), KEY),
    "value": VALUE,
    **published_numbers.columns(("row", "column"), VALUE),
}


def prepare(tables: Tables, job: Job) -> dict[str, Any]:
    """The things that each row of the table counts, as often as they occur, and what the paper has if it edits the
    model.
    """
    facts = tables["facts"]
    kinds = {
        "relations": facts["relation_id"],
        "records": facts["case_id"],
        "subjects": facts["subject"],
        "objects": facts["target_new"],
        "statements": pd.Series([p.replace("{}", s) for p, s in zip(facts["prompt"], facts["subject"])], facts.index),
    } | {
        f"{kind} prompts": facts[f"{kind}_prompts"]
        for kind in ("paraphrase", "neighborhood", "attribute", "generation")
    }
    long = [facts.assign(row=row, thing=things.astype(object)).explode("thing") for row, things in kinds.items()]
    paper = None
    if "published" in tables and (tables["published"]["model"] == job.keys.model).any():
        paper = published_numbers.of(tables["published"], **TABLE).assign(none=np.nan)
    return {"things": pd.concat(long, ignore_index=True).dropna(subset="thing"), "published": paper}


def rows(tables: Tables, job: Job) -> pd.DataFrame:
    """A row per number; of relations there is the total alone."""
    places = [("relations", "total")]
    places += [(row, column) for row in tables["things"]["row"].unique() if row != "relations" for column in SHOWN]
    return pd.DataFrame(places, columns=["row", "column"]).assign(model=job.keys.model)


DERIVATION = Derivation(COLUMNS, rows, prepare)


def draw(frame: pd.DataFrame) -> str:
    """The frame as a Markdown table; a published number stands right of the one it belongs to."""
    shown = ["value", "published"] if "published" in frame else ["value"]
    heads = [head for column in SHOWN for head in (column.capitalize(), "published")[: len(shown)]]
    lines = [f"| | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for row, rows in frame.groupby("row", sort=False):
        numbers = rows.set_index("column")[shown].reindex(SHOWN)
        lines.append(f"| {row.capitalize()} | {' | '.join(map(_cell, numbers.to_numpy().ravel()))} |")
    return "\n".join(lines) + "\n"


def _cell(value: float) -> str:
    """With three digits, a whole number without a point."""
    return "–" if pd.isna(value) else f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"


def main(argv=None) -> None:
    """Write the csv and the Markdown of the table."""
    items.table(__file__, __doc__, argv, ["facts*", "published?"], DERIVATION, draw)


if __name__ == "__main__":
    main()
