"""Integrated gradients of single prompts: how much of the probability of the answer each activation accounts for.

The prompts are those of ROME Fig. 10. The activations of a layer at all tokens move on a line from their values with
the subject corrupted to the clean ones, all else as in the clean run; the numbers of a layer sum to what that changes
(50 points of Gauss-Legendre quadrature, mean over noise samples). Red adds to the probability, blue takes away; the
ends of every scale are printed. PAPER: ROME Fig. 16.
"""

import pandas as pd

from engram.drawing import style, trace_panels, trace_tables
from engram.job import arguments, io


def table(attributions, attributed):
    """traces.CELLS with `attribution` in the place of the score, and `baseline`, the probability at the beginning of
    the line.
    """
    scores = attributions.rename(columns={"attribution": "score"}).assign(variant="main")
    frame = pd.concat(
        [
            trace_tables.cells(scores, attributed.assign(variant="main"), prompt_id)
            for prompt_id in attributed["prompt_id"]
        ],
        ignore_index=True,
    )
    keys = ["prompt_id", "site", "token", "layer"]
    frame = frame.merge(attributions[[*keys, "baseline"]], on=keys, validate="one_to_one")
    return frame.drop(columns=["variant", "extra"]).rename(columns={"score": "attribution"})


def draw(frame):
    """Rows of three heatmaps from `table`'s frame."""
    cells = frame.rename(columns={"attribution": "score"}).assign(variant="main", extra=False)
    return trace_panels.heatmaps(cells, None, signed="attribution")


def main(argv=None):
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["attributions", "attributed"], outputs=["pdf", "png", "csv"], keys=["model"]
    )
    frame = table(io.read_table(job.inputs.attributions), io.read_table(job.inputs.attributed))
    style.save(job, draw(frame), frame)


if __name__ == "__main__":
    main()
