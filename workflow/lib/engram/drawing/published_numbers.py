"""What the papers print, beside what a run measured. No torch.

The file of published numbers has one row per number: paper, table, model, dataset; facts, how many one model held (0:
unedited); records, how many were read; row and column of the table; value and ci, the half width of its 95% interval,
times 100 as printed; source; reproducible, `no` where another run cannot give this number; note, why, or how it was
made.
"""

import numpy as np
import pandas as pd

from engram.evaluation.derivation import Formula, Number, Rows
from engram.settings.fact_groups import FactGroup

UNEDITED = "none"
TEXTS = ("source", "reproducible", "note")


def of(table: pd.DataFrame, /, **keys: str) -> pd.DataFrame:
    """The rows of the table of published numbers whose columns have these values, its texts without gaps."""
    for column, value in keys.items():
        table = table[table[column] == value]
    return table.fillna(dict.fromkeys(TEXTS, "")).reset_index(drop=True)


def columns(at: tuple[str, ...], value: Number, ci: Number | None = None) -> dict[str, Number]:
    """What the paper has beside a number `value` and its interval: the row of the table `published` whose columns `at`
    are those of the number's row. Left out where the job has no such table.

    overlap is `yes` or `no` where both numbers have an interval, empty else.
    """
    paper = Rows("published", by=at, optional=True)
    reach = (value, paper.cell("value"), ci or paper.cell("none"), paper.cell("ci"))
    return {
        "published": paper.cell("value"),
        "published_ci": paper.cell("ci"),
        "published_records": paper.cell("records"),
        "difference": value - paper.cell("value"),
        "overlap": Formula("whether {} and {} are within their intervals {} and {}", _overlap, reach),
        **{name: Formula("{}", lambda texts: texts.fillna(""), (paper.cell(name),)) for name in TEXTS},
    }


def _overlap(value: pd.Series, published: pd.Series, ci: pd.Series, published_ci: pd.Series) -> pd.Series:
    difference, reach = value - published, ci + published_ci + 1e-9
    verdict = pd.Series(np.where(difference.abs() <= reach, "yes", "no"), index=value.index)
    return verdict.where((difference + reach).notna(), "")


def of_editors(table: pd.DataFrame, own: pd.DataFrame, paper: str) -> pd.DataFrame | None:
    """What a paper has of the model, dataset and metrics of the editors in `own` (model, dataset, method, n, metric):
    rows with the columns method and metric; None if that is nothing. Where the paper edited another number of facts in
    one model, its numbers are left out and `note` says so.
    """
    known = of(table, paper=paper, model=own["model"].iloc[0], dataset=own["dataset"].iloc[0])
    known = known[known["column"].isin(own["metric"])]
    if known.empty:
        return None
    here = {method: 0 if method == UNEDITED else FactGroup.parse(n).facts for method, n in zip(own["method"], own["n"])}
    other = known["facts"] != known["row"].map(here).fillna(known["facts"])
    known = known.assign(note=known["note"].where(~other, known["facts"].map("published for {:,} facts".format)))
    known.loc[other, ["value", "ci", "records"]] = np.nan
    known.loc[other, ["source", "reproducible"]] = ""
    return known.rename(columns={"row": "method", "column": "metric"}).assign(none=np.nan)
