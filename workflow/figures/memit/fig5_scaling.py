"""Editing scores over the number of facts that one model holds, for each editor.

S: harmonic mean of ES (efficacy), PS (paraphrases) and NS (neighbourhood). Bands: 95% confidence intervals over
records. An editor of many facts at once has one run for each number; one that edits facts in turn is read along the
way. Dotted: the unedited model. PAPER: MEMIT Fig. 5.
"""

# DIFFERS: facts in turn are one run over the first facts, so a small number has few records; the original starts anew
# for
# every number and covers all records with each.

from engram.drawing import curves, style
from engram.job import arguments

METRICS = ("S", "ES", "PS", "NS")


def table(paths):
    """Every point: the rows of the summaries that hold METRICS, one for each method and number of facts."""
    return curves.read(paths, METRICS, ["method", "after"], "memit/fig5_scaling").reset_index(drop=True)


def draw(frame):
    """Four panels over the number of facts, on a logarithmic axis."""
    looks = style.method_looks(set(frame["method"]) - {curves.UNEDITED})
    lines = {method: curves.Line(style.method_label(method, ""), *look) for method, look in looks.items()}
    model = style.shorten(frame["model"].iloc[0], 30)
    return curves.draw(frame, "after", "method", lines, f"facts edited in one model, {model}", log=True)


def main(argv=None):
    job = arguments.parse(__file__, __doc__, argv, inputs=["summaries*"], outputs=["pdf", "png", "csv"], keys=["model"])
    frame = table(job.inputs.summaries)
    style.save(job, draw(frame), frame)


if __name__ == "__main__":
    main()
