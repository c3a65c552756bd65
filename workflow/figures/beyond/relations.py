"""Single edits by relation: the scores of each editor over the records of one relation.

S: harmonic mean of ES (efficacy), PS (paraphrases) and NS (neighbourhood). Every fact is edited alone; lines are 95%
confidence intervals over the records of the relation. Relations in the order of the last editor's S. PAPER: beyond the
papers, scores by relation.
"""

import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import categories, items, style
from engram.evaluation import metrics
from engram.evaluation.derivation import KEY, Derivation, Job, Rows, Tables
from engram.settings.fact_groups import FactGroup

METRICS = ("S", "ES", "PS", "NS")
ITEM = "beyond/relations"


RECORDS = Rows("records", by=("method", "relation_id"))
NUMBERS = metrics.numbers(RECORDS, categories.DATASET)
COLUMNS = {**dict.fromkeys((*categories.KEYS, "relations", "metric"), KEY), **NUMBERS}


def rows(tables: Tables, job: Job) -> pd.DataFrame:
    """A row per metric, relation and editor. ValueError for facts that were not edited alone."""
    records = tables["records"]
    for method, n in records[["method", "n"]].drop_duplicates().itertuples(index=False):
        if not FactGroup.parse(n).alone:
            raise ValueError(f"{ITEM}: {method}, n {n}: right is 1, each fact alone")
    keys = [*categories.KEYS, "relation_id"]
    frame = records[keys].drop_duplicates().merge(pd.DataFrame({"metric": METRICS}), how="cross")
    frame = frame.assign(relations=frame["relation_id"]).sort_values(["relations"], kind="stable")
    return categories.ordered(frame, METRICS, NUMBERS["value"], tables)


DERIVATION = Derivation(COLUMNS, rows)


def draw(frame: pd.DataFrame) -> Figure:
    """Four panels, one above the other; a mark per relation and editor."""
    return categories.draw_by_editor(frame, f"relation, {style.shorten(frame['model'].iloc[0], 30)}")


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["records*"], DERIVATION, draw)


if __name__ == "__main__":
    main()
