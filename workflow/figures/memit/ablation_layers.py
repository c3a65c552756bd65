"""MEMIT over other ranges of layers: the same facts written into one layer, or spread over several.

S: harmonic mean of ES (efficacy), PS (paraphrases) and NS (neighbourhood). Lines: 95% confidence intervals. The
optimised values belong to the last layer of a range. Dotted: the unedited model. PAPER: MEMIT App. F.
"""

import pandas as pd

from engram.drawing import categories, curves, style
from engram.job import arguments

METRICS = ("S", "ES", "PS", "NS")
ITEM = "memit/ablation_layers"


def table(paths, points: dict) -> pd.DataFrame:
    """Every point: the rows of the summaries that hold METRICS, with `layers` as 0–2; by last layer, then by number."""
    frame = curves.with_points(curves.read(paths, METRICS, ["method"], ITEM), points, ["layers"], ITEM)
    at = frame["layers"].map(lambda layers: (-1, 0) if layers is None else (layers[-1], len(layers)))
    order = sorted(frame.index, key=lambda index: (METRICS.index(frame["metric"][index]), at[index]))
    return frame.assign(layers=frame["layers"].map(_range)).loc[order].reset_index(drop=True)


def _range(layers) -> str | None:
    """0–2 for consecutive layers, else all of them; None for the unedited model."""
    if layers is None:
        return None
    whole = list(layers) == list(range(layers[0], layers[-1] + 1)) and len(layers) > 1
    return f"{layers[0]}–{layers[-1]}" if whole else ", ".join(map(str, layers))


def draw(frame: pd.DataFrame):
    """Four panels, one above the other, a mark per range."""
    lines = {"MEMIT": curves.Line("MEMIT", *style.LINES["memit"])}
    facts, model = frame["after"].max(), style.shorten(frame["model"].iloc[0], 30)
    label = f"layers of {model} that are edited, {facts:,} facts together"
    return categories.draw(frame.assign(name="MEMIT"), "layers", "name", lines, label, style.SINGLE)


def main(argv=None):
    job = arguments.parse(__file__, __doc__, argv, inputs=["summaries*"], outputs=["pdf", "png", "csv"], keys=["model"])
    curves.item(job, table, draw)


if __name__ == "__main__":
    main()
