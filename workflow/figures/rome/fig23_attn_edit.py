"""AttnEdit, fine-tuning of a late attention in a box of half width ε, over ε.

S: harmonic mean of ES (efficacy), PS (paraphrases) and NS (neighbourhood). Bands: 95% confidence intervals.
Dotted: the unedited model. PAPER: ROME Fig. 23.
"""

import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import curves, items, style

METRICS = ("S", "ES", "PS", "NS")
ITEM = "rome/fig23_attn_edit"


def placed(frame: pd.DataFrame) -> pd.DataFrame:
    """The points by epsilon. ValueError for one without a box, which has no place on the axis."""
    if frame.loc[frame["method"] != curves.UNEDITED, "epsilon"].isna().any():
        raise ValueError(
            f"{ITEM}: a point without a box, which has no place on the axis; right are numbers for epsilon"
        )
    return frame.astype({"epsilon": float})


DERIVATION = curves.sweep(METRICS, ["epsilon"], ITEM, placed)


def draw(frame: pd.DataFrame) -> Figure:
    """Four panels over ε, on a logarithmic axis."""
    lines = {"AttnEdit": curves.Line("AttnEdit", *style.LINES["attn-edit"])}
    model = style.shorten(frame["model"].iloc[0], 30)
    label = f"ε, the largest change of a weight, {model}"
    return curves.draw(frame.assign(name="AttnEdit"), "epsilon", "name", lines, label, log=True)


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["summaries*"], DERIVATION, draw)


if __name__ == "__main__":
    main()
