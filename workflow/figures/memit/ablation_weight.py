"""MEMIT with other weights λ of the covariance: how much of what the layers knew is kept, against how well the facts
are stored.

S: harmonic mean of ES (efficacy), PS (paraphrases) and NS (neighbourhood). Bands: 95% confidence intervals.
Dotted: the unedited model. PAPER: MEMIT App. F.
"""

import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import curves, items, style

METRICS = ("S", "ES", "PS", "NS")
ITEM, KEY = "memit/ablation_weight", "covariance_weight"


DERIVATION = curves.sweep(METRICS, [KEY], ITEM, lambda frame: frame.astype({KEY: float}))


def draw(frame: pd.DataFrame) -> Figure:
    """Four panels over λ, on a logarithmic axis."""
    lines = {"MEMIT": curves.Line("MEMIT", *style.LINES["memit"])}
    facts, model = frame["after"].max(), style.shorten(frame["model"].iloc[0], 30)
    label = f"λ, weight of the covariance; {facts:,} facts edited together, {model}"
    return curves.draw(frame.assign(name="MEMIT"), KEY, "name", lines, label, log=True)


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["summaries*"], DERIVATION, draw)


if __name__ == "__main__":
    main()
