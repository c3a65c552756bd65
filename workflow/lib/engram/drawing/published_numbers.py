"""What the papers print, beside what a run measured. No torch.

The file of published numbers has one row per number: paper, table, model, dataset; facts, how many one model held (0:
unedited); records, how many were read; row and column of the table; value and ci, the half width of its 95% interval,
times 100 as printed; source; reproducible, `no` where another run cannot give this number; note, why, or how it was
made.
"""

import numpy as np
import pandas as pd

from engram.settings.fact_groups import FactGroup

UNEDITED = "none"
ADDED = ["published", "published_ci", "published_records", "difference", "overlap", "source", "reproducible", "note"]


def read(path, **keys) -> pd.DataFrame:
    """The rows of the file whose columns have these values. A metric may be called NA, and a method none."""
    numbers = {name: [""] for name in ("value", "ci", "records")}
    frame = pd.read_csv(path, keep_default_na=False, na_values=numbers)
    for column, value in keys.items():
        frame = frame[frame[column] == value]
    return frame.reset_index(drop=True)


def joined(frame: pd.DataFrame, known: pd.DataFrame, at: list[str], how: str = "left") -> pd.DataFrame:
    """`frame` with the columns ADDED: the numbers of `known` whose row and column are those of its two columns `at`.

    overlap is `yes` or `no` where both numbers have an interval. ValueError if one of the two has a place twice.
    """
    numbers = known.rename(
        columns=dict(zip(["row", "column"], at))
        | {"value": "published", "ci": "published_ci", "records": "published_records"}
    )
    texts = ["source", "reproducible", "note"]
    try:
        found = frame.merge(numbers[[*at, *ADDED[:3], *texts]], on=at, how=how, validate="one_to_one")
    except pd.errors.MergeError as error:
        raise ValueError(f"published numbers: {' and '.join(at)} do not tell two rows apart: {error}") from error
    found[texts] = found[texts].fillna("")
    found["difference"] = found["value"] - found["published"]
    reach = found["ci"] + found["published_ci"] + 1e-9 if "ci" in found else np.nan
    verdict = pd.Series(np.where(found["difference"].abs() <= reach, "yes", "no"), index=found.index)
    found["overlap"] = verdict.where((found["difference"] + reach).notna(), "")
    return found[[*frame.columns, *ADDED]]


def beside(frame: pd.DataFrame, path, paper: str) -> pd.DataFrame:
    """A table of editors (comparison.table) with what the paper has for its model, dataset and metrics; `frame` itself
    if that is nothing. Editors that the paper has alone follow, without `value`. Where the paper edited another number
    of facts in one model, its numbers are left out and `note` says so.
    """
    known = read(path, paper=paper, model=frame["model"].iloc[0], dataset=frame["dataset"].iloc[0])
    known = known[known["column"].isin(frame["metric"])]
    if known.empty:
        return frame
    here = {
        method: 0 if method == UNEDITED else FactGroup.parse(n).facts for method, n in zip(frame["method"], frame["n"])
    }
    other = known["facts"] != known["row"].map(here).fillna(known["facts"])
    known = known.assign(note=known["note"].where(~other, known["facts"].map("published for {:,} facts".format)))
    known.loc[other, ["value", "ci", "records"]] = np.nan
    known.loc[other, ["source", "reproducible"]] = ""
    found = joined(frame.astype({"n": object}), known, ["method", "metric"], how="outer")
    same = {"model": frame["model"].iloc[0], "dataset": frame["dataset"].iloc[0], "n": ""}
    return found.fillna(same)
