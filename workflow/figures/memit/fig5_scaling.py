"""Editing scores over the number of facts that one model holds, for each editor.

S: harmonic mean of ES (efficacy), PS (paraphrases) and NS (neighbourhood). Bands: 95% confidence intervals over
records. An editor of many facts at once has one run for each number; one that edits facts in turn is read along the
way. Dotted: the unedited model. PAPER: MEMIT Fig. 5.
"""

# DIFFERS: facts in turn are one run over the first facts, so a small number has few records; the original starts anew
# for
# every number and covers all records with each.

import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import curves, items, style

METRICS = ("S", "ES", "PS", "NS")


DERIVATION = curves.over_facts(METRICS, "memit/fig5_scaling")


def draw(frame: pd.DataFrame) -> Figure:
    """Four panels over the number of facts, on a logarithmic axis."""
    looks = style.method_looks(set(frame["method"]) - {curves.UNEDITED})
    lines = {method: curves.Line(style.method_label(method, ""), *look) for method, look in looks.items()}
    model = style.shorten(frame["model"].iloc[0], 30)
    return curves.draw(frame, "after", "method", lines, f"facts edited in one model, {model}", log=True)


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["summaries*"], DERIVATION, draw)


if __name__ == "__main__":
    main()
