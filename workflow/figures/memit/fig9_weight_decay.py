"""FT-W with other weight decays: how much of the model's knowledge fine-tuning keeps, against how well the facts are
stored.

S: harmonic mean of ES (efficacy), PS (paraphrases) and NS (neighbourhood). Lines: 95% confidence intervals. Dotted:
the unedited model. PAPER: MEMIT Fig. 9.
"""

import pandas as pd

from engram.drawing import categories, curves, style
from engram.job import arguments

METRICS = ("S", "ES", "PS", "NS")
ITEM, KEYS = "memit/fig9_weight_decay", ["weight_decay", "decay_law"]


def table(paths, points: dict) -> pd.DataFrame:
    """Every point, the smallest decay first: the rows of the summaries that hold METRICS, with weight_decay.

    ValueError for a sweep over others, or a law instead of a number: `decay_law: [null]` says that there is none.
    """
    frame = curves.with_points(curves.read(paths, METRICS, ["method"], ITEM), points, KEYS, ITEM)
    if any(point["decay_law"] is not None for point in points.values()):
        raise ValueError(
            f"{ITEM}: a point whose decay is a law; right is `decay_law: [null]`, weight_decay says how much"
        )
    frame = frame.drop(columns="decay_law").assign(weight_decay=frame["weight_decay"].astype(float))
    order = frame.assign(place=frame["metric"].map(METRICS.index)).sort_values(["place", "weight_decay"], kind="stable")
    return order.drop(columns="place").reset_index(drop=True)


def draw(frame: pd.DataFrame):
    """Four panels, one above the other, a mark per decay: 0 is one of them, so the axis is no scale."""
    lines = {"FT-W": curves.Line("FT-W", *style.LINES["ft-w"])}
    facts, model = frame["after"].max(), style.shorten(frame["model"].iloc[0], 30)
    shown = frame.assign(name="FT-W", decay=[f"{decay:g}" for decay in frame["weight_decay"]])
    return categories.draw(
        shown, "decay", "name", lines, f"weight decay; {facts:,} facts edited together, {model}", style.SINGLE
    )


def main(argv=None):
    job = arguments.parse(__file__, __doc__, argv, inputs=["summaries*"], outputs=["pdf", "png", "csv"], keys=["model"])
    curves.item(job, table, draw)


if __name__ == "__main__":
    main()
