"""MEMIT over other ranges of layers: the same facts written into one layer, or spread over several.

S: harmonic mean of ES (efficacy), PS (paraphrases) and NS (neighbourhood). Lines: 95% confidence intervals. The
optimised values belong to the last layer of a range. Dotted: the unedited model. PAPER: MEMIT App. F.
"""

import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import categories, curves, items, style

METRICS = ("S", "ES", "PS", "NS")
ITEM = "memit/ablation_layers"


def placed(frame: pd.DataFrame) -> pd.DataFrame:
    """The points with `layers` as 0–2; by metric, by last layer, then by number of layers."""
    at = frame["layers"].map(lambda layers: (-1, 0) if layers is None else (layers[-1], len(layers)))
    order = sorted(frame.index, key=lambda index: (METRICS.index(frame["metric"][index]), at[index]))
    return frame.assign(layers=frame["layers"].map(_range)).loc[order]


def _range(layers: list[int] | None) -> str | None:
    """0–2 for consecutive layers, else all of them; None for the unedited model."""
    if layers is None:
        return None
    whole = list(layers) == list(range(layers[0], layers[-1] + 1)) and len(layers) > 1
    return f"{layers[0]}–{layers[-1]}" if whole else ", ".join(map(str, layers))


DERIVATION = curves.sweep(METRICS, ["layers"], ITEM, placed)


def draw(frame: pd.DataFrame) -> Figure:
    """Four panels, one above the other, a mark per range."""
    lines = {"MEMIT": curves.Line("MEMIT", *style.LINES["memit"])}
    facts, model = frame["after"].max(), style.shorten(frame["model"].iloc[0], 30)
    label = f"layers of {model} that are edited, {facts:,} facts together"
    return categories.draw(frame.assign(name="MEMIT"), "layers", "name", lines, label, style.SINGLE)


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["summaries*"], DERIVATION, draw)


if __name__ == "__main__":
    main()
