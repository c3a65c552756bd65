"""Editing facts of one relation together: scores by relation, for each editor.

S: harmonic mean of ES (efficacy), PS (paraphrases) and NS (neighbourhood). Every mark is one model that was given the
same number of facts of one relation; lines are 95% confidence intervals over its records. Relations in the order of the
last editor's S. PAPER: MEMIT Fig. 6.
"""

from engram.drawing import categories, curves, style
from engram.job import arguments

METRICS = ("S", "ES", "PS", "NS")
ITEM = "memit/fig6_categories"


def table(paths):
    """A row per editor, relation and metric of METRICS, relations from the best S of the last editor down."""
    frame = categories.read(paths, METRICS, ITEM)
    if frame.duplicated(["method", "relations", "metric"]).any():
        raise ValueError(f"{ITEM}: an editor has two rows for one relation; right is one number of facts for all")
    return categories.ordered(frame, METRICS)


def draw(frame):
    """Four panels, one above the other; a mark per relation and editor."""
    lines = {
        method: curves.Line(style.method_label(method, ""), *look)
        for method, look in style.method_looks(set(frame["method"])).items()
    }
    facts, model = frame["facts"].max(), style.shorten(frame["model"].iloc[0], 30)
    return categories.draw(
        frame, "relations", "method", lines, f"relation of the {facts} facts edited together, {model}"
    )


def main(argv=None):
    job = arguments.parse(__file__, __doc__, argv, inputs=["records*"], outputs=["pdf", "png", "csv"], keys=["model"])
    frame = table(job.inputs.records)
    style.save(job, draw(frame), frame)


if __name__ == "__main__":
    main()
