"""The same prompts traced with the subject corrupted, and with a token after it corrupted too.

If the early site only marked the end of what was corrupted, it would move to the extra token. Rows of one prompt share
their colour scales, whose ends are printed. `*` marks subject tokens, `+` the extra ones. Unless `prompts` names them
for the model, the prompts are chosen by rule, as in Fig. 10, among those traced both ways. PAPER: ROME Fig. 12.
"""

import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import items, trace_panels, trace_tables
from engram.evaluation.derivation import Derivation, Job, Tables
from engram.tracing import selection


def rows(tables: Tables, job: Job) -> pd.DataFrame:
    """The cells of each prompt in each variant, prompts chosen by the first variant's table."""
    trace_tables.check(tables, trace_tables.SITES)
    traced = tables["traced"]
    variants = list(traced["variant"].unique())
    in_all = traced.groupby("prompt_id")["variant"].nunique()
    in_all = in_all.index[in_all == len(variants)]
    if not len(in_all):
        raise ValueError(f"variants {variants} of trace: no prompt was traced in all of them")
    first = traced[(traced["variant"] == variants[0]) & traced["prompt_id"].isin(in_all)]
    chosen = selection.chosen(first, trace_tables.options(job), job.keys.model)
    return trace_tables.cells(tables["effects"], [(variant, prompt) for prompt in chosen for variant in variants])


DERIVATION = Derivation(trace_tables.CELLS, rows, trace_tables.with_tokens)


def draw(frame: pd.DataFrame, window: int) -> Figure:
    """Rows of three heatmaps from the numbers, the variants of a prompt below each other."""
    return trace_panels.heatmaps(frame, window)


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["effects*", "traced*"], DERIVATION, draw, items.window)


if __name__ == "__main__":
    main()
