"""ROME at every layer and at each token where the key may be looked up: the subject's first or last, the one after, the
last.

S: harmonic mean of the success scores; EM, PM, NM: mean differences of the two objects' probabilities, for the fact,
its paraphrases and its neighbourhood. Bands: 95% confidence intervals. Dotted: the unedited model. PAPER: ROME Fig. 5.
"""

# DIFFERS: the original's bands are 1.96 standard deviations over the root of 100, whatever the number of records.

import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import curves, items, style

METRICS = ("EM", "PM", "NM", "S")
ITEM = "rome/fig5_sweep"
LINES = {  # PAPER: the colours of Fig. 5, darkened to 3:1 against white
    "subject_first": curves.Line("First subject token", "#c07800", ":", "D"),
    "subject_last": curves.Line("Last subject token", "#e8432a", "-", "o"),
    "subject_first_after_last": curves.Line("First token after the subject", "green", "-.", "^"),
    "last": curves.Line("Last token", "#4f80dd", "--", "s"),
}


DERIVATION = curves.sweep(METRICS, ["layer", "token"], ITEM, lambda frame: frame.astype({"layer": "Int64"}))


def draw(frame: pd.DataFrame) -> Figure:
    """Four panels over the layers, one line per token."""
    lines = {token: line for token, line in LINES.items() if (frame["token"] == token).any()}
    model = style.shorten(frame["model"].iloc[0], 30)
    return curves.draw(frame, "layer", "token", lines, f"layer of {model} that is edited")


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["summaries*"], DERIVATION, draw)


if __name__ == "__main__":
    main()
