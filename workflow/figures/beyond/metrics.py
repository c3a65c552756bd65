"""The numbers by which two runs are compared: `dvc metrics show`, `dvc metrics diff`, `dvc exp show`.

Of causal tracing: the mean probability of the answer, clean and corrupted, the largest mean effects at the last subject
token. Of each editor: scores of single edits. All x 100. PAPER: beyond the papers.
"""

from typing import Any

import pandas as pd

from engram.drawing import items, method_tables, style
from engram.evaluation.derivation import KEY, Choice, Derivation, Job, Rows, Tables
from engram.evaluation.indirect_effects import SCALARS, categorised
from engram.job import arguments

METRICS = ("S", "ES", "PS", "NS")
RESULT = Rows("summaries", by=("method", "metric"))
TRACED = {name: 100 * SCALARS[name] for name in ("clean", "corrupted")}
TRACED |= dict.fromkeys(style.SITES, 100 * SCALARS["peak: Last subject token"])
COLUMNS = {
    "method": KEY,  # `tracing`, or an editor
    "metric": KEY,
    "value": Choice("metric", {**TRACED, **dict.fromkeys(METRICS, RESULT.cell("value"))}),
}


def prepare(tables: Tables, job: Job) -> dict[str, Any]:
    """The effects with the categories of their tokens; the summaries as in the tables of editors."""
    return {**categorised(tables, style.SITES, most=1), **method_tables.derivation(METRICS).prepare(tables, job)}


def rows(tables: Tables, job: Job) -> pd.DataFrame:
    """The numbers of tracing, then those of each editor, editors as in the papers."""
    variant, summaries = tables["traced"]["variant"].iloc[0], tables["summaries"]
    pairs = [("tracing", name) for name in TRACED]
    pairs += [(method, name) for method in style.method_order(summaries["method"]) for name in METRICS]
    frame = pd.DataFrame(pairs, columns=["method", "metric"])
    return frame.assign(variant=variant, site=frame["metric"].where(frame["metric"].isin(list(style.SITES))))


DERIVATION = Derivation(COLUMNS, rows, prepare)


def nested(frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """{tracing: {clean, corrupted, <site>}, <editor>: {metric: value}}, with two decimals."""
    return {
        method: {metric: round(float(value), 2) for metric, value in zip(rows["metric"], rows["value"])}
        for method, rows in frame.groupby("method", sort=False)
    }


def main(argv=None) -> None:
    """Write the numbers as json."""
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["effects*", "traced*", "summaries*"], outputs=["json"], keys=["model"]
    )
    job.write("json", nested(items.numbers(job, DERIVATION)))


if __name__ == "__main__":
    main()
