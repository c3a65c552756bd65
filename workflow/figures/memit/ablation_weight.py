"""MEMIT with other weights λ of the covariance: how much of what the layers knew is kept, against how well the facts
are stored.

S: harmonic mean of ES (efficacy), PS (paraphrases) and NS (neighbourhood). Bands: 95% confidence intervals.
Dotted: the unedited model. PAPER: MEMIT App. F.
"""

from engram.drawing import curves, style
from engram.job import arguments

METRICS = ("S", "ES", "PS", "NS")
ITEM, KEY = "memit/ablation_weight", "covariance_weight"


def table(paths, points: dict):
    """Every point: the rows of the summaries that hold METRICS, with the weight."""
    frame = curves.with_points(curves.read(paths, METRICS, ["method"], ITEM), points, [KEY], ITEM)
    return frame.assign(**{KEY: frame[KEY].astype(float)})


def draw(frame):
    """Four panels over λ, on a logarithmic axis."""
    lines = {"MEMIT": curves.Line("MEMIT", *style.LINES["memit"])}
    facts, model = frame["after"].max(), style.shorten(frame["model"].iloc[0], 30)
    label = f"λ, weight of the covariance; {facts:,} facts edited together, {model}"
    return curves.draw(frame.assign(name="MEMIT"), KEY, "name", lines, label, log=True)


def main(argv=None):
    job = arguments.parse(__file__, __doc__, argv, inputs=["summaries*"], outputs=["pdf", "png", "csv"], keys=["model"])
    curves.item(job, table, draw)


if __name__ == "__main__":
    main()
