"""Editing facts of one relation together: scores by relation, for each editor.

S: harmonic mean of ES (efficacy), PS (paraphrases) and NS (neighbourhood). Every mark is one model that was given the
same number of facts of one relation; lines are 95% confidence intervals over its records. Relations in the order of the
last editor's S. PAPER: MEMIT Fig. 6.
"""

import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import categories, items, style
from engram.evaluation.derivation import Derivation, Job, Tables

METRICS = ("S", "ES", "PS", "NS")
ITEM = "memit/fig6_categories"


def rows(tables: Tables, job: Job) -> pd.DataFrame:
    """A row per editor, relation and metric of METRICS, relations from the best S of the last editor down."""
    frame = categories.rows(tables, METRICS, ITEM)
    if frame.duplicated(["method", "relations", "metric"]).any():
        raise ValueError(f"{ITEM}: an editor has two rows for one relation; right is one number of facts for all")
    return categories.ordered(frame, METRICS, categories.COLUMNS["value"], tables)


DERIVATION = Derivation(categories.COLUMNS, rows)


def draw(frame: pd.DataFrame) -> Figure:
    """Four panels, one above the other; a mark per relation and editor."""
    facts, model = frame["facts"].max(), style.shorten(frame["model"].iloc[0], 30)
    return categories.draw_by_editor(frame, f"relation of the {facts} facts edited together, {model}")


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["records*"], DERIVATION, draw)


if __name__ == "__main__":
    main()
