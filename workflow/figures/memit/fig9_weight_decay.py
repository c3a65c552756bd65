"""FT-W with other weight decays: how much of the model's knowledge fine-tuning keeps, against how well the facts are
stored.

S: harmonic mean of ES (efficacy), PS (paraphrases) and NS (neighbourhood). Lines: 95% confidence intervals. Dotted:
the unedited model. PAPER: MEMIT Fig. 9.
"""

import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import categories, curves, items, style

METRICS = ("S", "ES", "PS", "NS")
ITEM, KEYS = "memit/fig9_weight_decay", ["weight_decay", "decay_law"]


def placed(frame: pd.DataFrame) -> pd.DataFrame:
    """The points by metric, the smallest decay first. ValueError for one whose decay is a law instead of a number:
    `decay_law: [null]` says that there is none.
    """
    if frame["decay_law"].notna().any():
        raise ValueError(
            f"{ITEM}: a point whose decay is a law; right is `decay_law: [null]`, weight_decay says how much"
        )
    frame = frame.drop(columns="decay_law").astype({"weight_decay": float})
    ranks = frame["metric"].map(METRICS.index)
    return frame.assign(rank=ranks).sort_values(["rank", "weight_decay"], kind="stable").drop(columns="rank")


DERIVATION = curves.sweep(METRICS, KEYS, ITEM, placed)


def draw(frame: pd.DataFrame) -> Figure:
    """Four panels, one above the other, a mark per decay: 0 is one of them, so the axis is no scale."""
    lines = {"FT-W": curves.Line("FT-W", *style.LINES["ft-w"])}
    facts, model = frame["after"].max(), style.shorten(frame["model"].iloc[0], 30)
    shown = frame.assign(name="FT-W", decay=[f"{decay:g}" for decay in frame["weight_decay"]])
    return categories.draw(
        shown, "decay", "name", lines, f"weight decay; {facts:,} facts edited together, {model}", style.SINGLE
    )


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["summaries*"], DERIVATION, draw)


if __name__ == "__main__":
    main()
