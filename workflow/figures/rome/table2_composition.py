"""What the CounterFact records of a model are made of: distinct ones in all, on average in one relation, and in one
record.

Subjects and prompts are counted as different strings, objects are those that an edit writes; a statement is the prompt
of an edit with its subject. PAPER: ROME Table 2.
"""

import pandas as pd

from engram.drawing import published_numbers
from engram.job import arguments, io

COLUMNS = ("total", "per relation", "per record")
TABLE = {"paper": "rome", "table": "Table 2"}


def items_of(facts: pd.DataFrame) -> dict[str, pd.Series]:
    """Row of the table -> the things that it counts, indexed by relation_id and case_id, as often as they occur."""
    facts = facts.set_index(["relation_id", "case_id"], drop=False)
    kinds = {
        "records": facts["case_id"],
        "subjects": facts["subject"],
        "objects": facts["target_new"],
        "statements": pd.Series([p.replace("{}", s) for p, s in zip(facts["prompt"], facts["subject"])], facts.index),
    }
    return kinds | {
        f"{kind} prompts": facts[f"{kind}_prompts"].explode().dropna()
        for kind in ("paraphrase", "neighborhood", "attribute", "generation")
    }


def table(facts: pd.DataFrame, model: str) -> pd.DataFrame:
    """One row per number: model, row, column, value. The first row counts relations."""
    relations, records = facts["relation_id"].nunique(), len(facts)
    rows = [("relations", "total", relations)]
    for row, things in items_of(facts).items():
        by_relation = things.groupby(level="relation_id").nunique()
        by_record = things.groupby(level="case_id").nunique()
        values = (things.nunique(), by_relation.sum() / relations, by_record.sum() / records)
        rows += [(row, column, value) for column, value in zip(COLUMNS, values)]
    return pd.DataFrame(rows, columns=["row", "column", "value"]).assign(model=model)[
        ["model", "row", "column", "value"]
    ]


def compared(frame: pd.DataFrame, path, model: str) -> pd.DataFrame:
    """`table`'s frame beside the paper's numbers, if the paper edits this model."""
    if not path or published_numbers.read(path, model=model).empty:
        return frame
    return published_numbers.joined(frame, published_numbers.read(path, **TABLE), ["row", "column"])


def draw(frame: pd.DataFrame) -> str:
    """The frame as a Markdown table; a published number stands right of the one it belongs to."""
    shown = ["value", "published"] if "published" in frame else ["value"]
    heads = [head for column in COLUMNS for head in (column.capitalize(), "published")[: len(shown)]]
    lines = [f"| | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for row, rows in frame.groupby("row", sort=False):
        numbers = rows.set_index("column")[shown].reindex(COLUMNS)
        lines.append(f"| {row.capitalize()} | {' | '.join(map(_cell, numbers.to_numpy().ravel()))} |")
    return "\n".join(lines) + "\n"


def _cell(value: float) -> str:
    """With three digits, a whole number without a point."""
    return "–" if pd.isna(value) else f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"


def main(argv=None):
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["facts*", "published?"], outputs=["csv", "md"], keys=["model"]
    )
    facts = pd.concat(map(io.read_table, job.inputs.facts), ignore_index=True)
    frame = compared(table(facts, job.keys.model), job.inputs.published, job.keys.model)
    job.write("csv", frame)
    job.write("md", draw(frame))


if __name__ == "__main__":
    main()
