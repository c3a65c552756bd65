"""Single edits by relation: the scores of each editor over the records of one relation.

S: harmonic mean of ES (efficacy), PS (paraphrases) and NS (neighbourhood). Every fact is edited alone; lines are 95%
confidence intervals over the records of the relation. Relations in the order of the last editor's S. PAPER: beyond the
papers, scores by relation.
"""

import pandas as pd

from engram.drawing import categories, curves, style
from engram.evaluation import metrics
from engram.job import arguments, io
from engram.settings.fact_groups import FactGroup

METRICS = ("S", "ES", "PS", "NS")
ITEM = "beyond/relations"


def table(records: list[pd.DataFrame]) -> pd.DataFrame:
    """A row per metric, relation and editor: value and ci times 100, count. ValueError for facts that were not edited
    alone.
    """
    parts = []
    for frame in records:
        keys = frame[categories.KEYS].iloc[0].to_dict()
        if not FactGroup.parse(keys["n"]).alone:
            raise ValueError(f"{ITEM}: {keys['method']}, n {keys['n']}: right is 1, each fact alone")
        for relation, rows in frame.groupby("relation_id"):
            found = metrics.summary(rows, keys["dataset"]).drop(columns="after")
            parts.append(found[found["metric"].isin(METRICS)].assign(**keys, relations=relation))
    frame = pd.concat(parts, ignore_index=True)[[*categories.KEYS, "relations", "metric", "value", "ci", "count"]]
    return categories.ordered(frame, METRICS)


def draw(frame: pd.DataFrame):
    """Four panels, one above the other; a mark per relation and editor."""
    lines = {
        method: curves.Line(style.method_label(method, ""), *look)
        for method, look in style.method_looks(set(frame["method"])).items()
    }
    return categories.draw(
        frame, "relations", "method", lines, f"relation, {style.shorten(frame['model'].iloc[0], 30)}"
    )


def main(argv=None):
    job = arguments.parse(__file__, __doc__, argv, inputs=["records*"], outputs=["pdf", "png", "csv"], keys=["model"])
    frame = table([io.read_table(path) for path in job.inputs.records])
    style.save(job, draw(frame), frame)


if __name__ == "__main__":
    main()
