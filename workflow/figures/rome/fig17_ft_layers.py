"""Fine-tuning of one layer's MLP, free (FT) or with every weight in a box of half width ε (FT+L), over the layers.

S: harmonic mean of the success scores; EM, PM, NM: mean differences of the two objects' probabilities, for the fact,
its paraphrases and its neighbourhood. Bands: 95% confidence intervals. Dotted: the unedited model. PAPER: ROME Fig. 17;
for GPT-J Fig. 18.
"""

# DIFFERS: the original's bands are 1.96 standard deviations over the root of 100, whatever the number of records.

import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import curves, items, style

METRICS = ("EM", "PM", "NM", "S")
ITEM = "rome/fig17_ft_layers"
BOXES = [
    style.LINES["ft-l"],
    ("#7f76d0", "--", "s"),
    ("#b0567a", ":", "D"),
    ("#8b6f9e", "-.", "^"),
    ("#4d7a9e", "--", "x"),
]


DERIVATION = curves.sweep(  # an empty epsilon: no box
    METRICS, ["layer", "epsilon"], ITEM, lambda frame: frame.astype({"layer": "Int64", "epsilon": float})
)


def draw(frame: pd.DataFrame) -> Figure:
    """Four panels over the layers, one line per ε."""
    boxes = frame["epsilon"].fillna(float("inf"))
    edited = frame["method"] != curves.UNEDITED
    held = sorted(set(boxes[edited]) - {float("inf")}, reverse=True)
    lines = {float("inf"): curves.Line("FT", *style.LINES["ft"])} if float("inf") in set(boxes[edited]) else {}
    lines |= {box: curves.Line(f"FT+L, ε = {box:g}", *BOXES[at % len(BOXES)]) for at, box in enumerate(held)}
    model = style.shorten(frame["model"].iloc[0], 30)
    return curves.draw(frame.assign(box=boxes), "layer", "box", lines, f"layer of {model} whose MLP is fine-tuned")


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["summaries*"], DERIVATION, draw)


if __name__ == "__main__":
    main()
