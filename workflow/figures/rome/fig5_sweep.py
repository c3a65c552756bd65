"""ROME at every layer and at each token where the key may be looked up: the subject's first or last, the one after, the
last.

S: harmonic mean of the success scores; EM, PM, NM: mean differences of the two objects' probabilities, for the fact,
its paraphrases and its neighbourhood. Bands: 95% confidence intervals. Dotted: the unedited model. PAPER: ROME Fig. 5.
"""

# DIFFERS: the original's bands are 1.96 standard deviations over the root of 100, whatever the number of records.

import pandas as pd

from engram.drawing import curves, style
from engram.job import arguments

METRICS = ("EM", "PM", "NM", "S")
ITEM = "rome/fig5_sweep"
LINES = {  # PAPER: the colours of Fig. 5, darkened to 3:1 against white
    "subject_first": curves.Line("First subject token", "#c07800", ":", "D"),
    "subject_last": curves.Line("Last subject token", "#e8432a", "-", "o"),
    "subject_first_after_last": curves.Line("First token after the subject", "green", "-.", "^"),
    "last": curves.Line("Last token", "#4f80dd", "--", "s"),
}


def table(paths, points: dict) -> pd.DataFrame:
    """Every point: the rows of the summaries that hold METRICS, with layer and token."""
    frame = curves.with_points(curves.read(paths, METRICS, ["method"], ITEM), points, ["layer", "token"], ITEM)
    return frame.assign(layer=frame["layer"].astype("Int64"))


def draw(frame: pd.DataFrame):
    """Four panels over the layers, one line per token."""
    lines = {token: line for token, line in LINES.items() if (frame["token"] == token).any()}
    model = style.shorten(frame["model"].iloc[0], 30)
    return curves.draw(frame, "layer", "token", lines, f"layer of {model} that is edited")


def main(argv=None):
    job = arguments.parse(__file__, __doc__, argv, inputs=["summaries*"], outputs=["pdf", "png", "csv"], keys=["model"])
    curves.item(job, table, draw)


if __name__ == "__main__":
    main()
