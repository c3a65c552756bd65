"""Integrated gradients of single prompts: how much of the probability of the answer each activation accounts for.

The prompts are those of ROME Fig. 10. The activations of a layer at all tokens move on a line from their values with
the subject corrupted to the clean ones, all else as in the clean run; the numbers of a layer sum to what that changes
(50 points of Gauss-Legendre quadrature, mean over noise samples). Red adds to the probability, blue takes away; the
ends of every scale are printed. PAPER: ROME Fig. 16.
"""

from types import SimpleNamespace

import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import items, trace_panels, trace_tables
from engram.evaluation.derivation import Derivation, Job, Rows, Tables

CELL = Rows("attributions", by=("prompt_id", "site", "token", "layer"))
ABOUT = trace_tables.about_cells("attributed")
COLUMNS = {
    **{name: number for name, number in ABOUT.items() if name not in ("variant", "extra")},
    "attribution": CELL.cell("attribution"),
    "baseline": CELL.cell("baseline"),  # the probability at the beginning of the line
}


def prepare(tables: Tables, job: Job) -> dict[str, pd.DataFrame]:
    """The two tables under the names of those of traces, of one variant without extra tokens."""
    both = {
        "effects": tables["attributions"].assign(variant="main"),
        "traced": tables["attributed"].assign(variant="main"),
    }
    variant = SimpleNamespace(config={"variants": {"main": {"extra_tokens": 0}}}, keys=job.keys, script=job.script)
    return both | trace_tables.with_tokens(tables.with_(both), variant)


def rows(tables: Tables, job: Job) -> pd.DataFrame:
    """The cells of every prompt."""
    return trace_tables.cells(tables["effects"], [("main", prompt) for prompt in tables["traced"]["prompt_id"]])


DERIVATION = Derivation(COLUMNS, rows, prepare)


def draw(frame: pd.DataFrame) -> Figure:
    """Rows of three heatmaps from the numbers."""
    cells = frame.rename(columns={"attribution": "score"}).assign(variant="main", extra=False)
    return trace_panels.heatmaps(cells, None, signed="attribution")


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["attributions", "attributed"], DERIVATION, draw)


if __name__ == "__main__":
    main()
