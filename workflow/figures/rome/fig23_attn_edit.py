"""AttnEdit, fine-tuning of a late attention in a box of half width ε, over ε.

S: harmonic mean of ES (efficacy), PS (paraphrases) and NS (neighbourhood). Bands: 95% confidence intervals.
Dotted: the unedited model. PAPER: ROME Fig. 23.
"""

import pandas as pd

from engram.drawing import curves, style
from engram.job import arguments

METRICS = ("S", "ES", "PS", "NS")
ITEM = "rome/fig23_attn_edit"


def table(paths, points: dict) -> pd.DataFrame:
    """Every point: the rows of the summaries that hold METRICS, with epsilon. ValueError for a point without a box."""
    frame = curves.with_points(curves.read(paths, METRICS, ["method"], ITEM), points, ["epsilon"], ITEM)
    if any(point["epsilon"] is None for point in points.values()):
        raise ValueError(
            f"{ITEM}: a point without a box, which has no place on the axis; right are numbers for epsilon"
        )
    return frame.assign(epsilon=frame["epsilon"].astype(float))


def draw(frame: pd.DataFrame):
    """Four panels over ε, on a logarithmic axis."""
    lines = {"AttnEdit": curves.Line("AttnEdit", *style.LINES["attn-edit"])}
    model = style.shorten(frame["model"].iloc[0], 30)
    label = f"ε, the largest change of a weight, {model}"
    return curves.draw(frame.assign(name="AttnEdit"), "epsilon", "name", lines, label, log=True)


def main(argv=None):
    job = arguments.parse(__file__, __doc__, argv, inputs=["summaries*"], outputs=["pdf", "png", "csv"], keys=["model"])
    curves.item(job, table, draw)


if __name__ == "__main__":
    main()
