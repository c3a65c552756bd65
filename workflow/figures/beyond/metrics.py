"""The numbers by which two runs are compared: `dvc metrics show`, `dvc metrics diff`, `dvc exp show`.

Of causal tracing: the mean probability of the answer, clean and corrupted, the largest mean effects at the last subject
token. Of each editor: scores of single edits. All x 100. PAPER: beyond the papers.
"""

import pandas as pd

from engram.drawing import method_tables, style, trace_tables
from engram.evaluation import indirect_effects
from engram.job import arguments

METRICS = ("S", "ES", "PS", "NS")
WHERE = "peak: Last subject token"


def numbers(scores: pd.DataFrame, traced: pd.DataFrame, summaries: list[pd.DataFrame]) -> dict:
    """{tracing: {clean, corrupted, <site>}, <editor>: {metric: value}}, all x 100 with two decimals."""
    found: dict = {"tracing": {name: 100 * traced[name].mean() for name in ("clean", "corrupted")}}
    for site in style.SITES:
        values = indirect_effects.summary(scores, traced, site).set_index("name")["value"]
        found["tracing"][site] = 100 * values[WHERE]
    for method, rows in method_tables.table(summaries, METRICS).groupby("method", sort=False):
        found[method] = dict(zip(rows["metric"], rows["value"]))
    return {group: {name: round(float(value), 2) for name, value in values.items()} for group, values in found.items()}


def main(argv=None):
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["effects*", "traced*", "summaries*"], outputs=["json"], keys=["model"]
    )
    job.write(
        "json",
        numbers(*trace_tables.read(job.inputs, trace_tables.SITES, most=1), method_tables.read(job.inputs.summaries)),
    )


if __name__ == "__main__":
    main()
