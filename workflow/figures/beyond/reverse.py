"""The reverse question: single edits asked as edited, paraphrased, and in the other order of subject and relation.

After an edit of "{} was born in", the question "The birthplace of {} is" has the relation first; after one of "The
capital of {} is", "{}'s capital is" has the subject first. Success: share of prompts where the new object is the
likelier one; magnitude: by how much. In parentheses: records that have such a question. Lines are 95% confidence
intervals over records. PAPER: beyond the papers, the reverse question.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import curves, items, style
from engram.evaluation.derivation import KEY, Choice, Derivation, Job, Number, Rows, Tables
from engram.settings.fact_groups import FactGroup

ITEM = "beyond/reverse"
KEYS = ["model", "dataset", "method", "n"]
SHOWN = {"success": "Success", "magnitude": "Magnitude"}
KINDS = {  # what is asked -> success, magnitude; label, marker, filled
    "rewrite": ("ES", "EM", "as edited", "o", True),
    "paraphrase": ("PS", "PM", "paraphrased", "s", False),
    "relation first": ("VS", "VM", "reverse, relation first", ">", True),
    "subject first": ("VS", "VM", "reverse, subject first", "<", False),
}


RECORDS = Rows("records", by=("method",))
ASKED = {  # kind of question -> its records
    "rewrite": RECORDS,
    "paraphrase": RECORDS,
    "reverse": RECORDS,  # in both orders
    "relation first": RECORDS.only(first="relation first"),
    "subject first": RECORDS.only(first="subject first"),
}
NAMES = {kind: dict(zip(SHOWN, KINDS.get(kind, ("VS", "VM")))) for kind in ASKED}  # kind, metric -> column of records


def _numbers(number: Callable[[Rows, str], Number]) -> Number:
    return Choice(
        "kind",
        {
            kind: Choice("metric", {metric: number(rows, NAMES[kind][metric]) for metric in SHOWN})
            for kind, rows in ASKED.items()
        },
    )


COLUMNS = {
    **dict.fromkeys((*KEYS, "kind", "metric"), KEY),
    "value": _numbers(lambda rows, name: 100 * rows.mean(name)),
    "ci": _numbers(lambda rows, name: 100 * rows.half_width(name)),
    "count": _numbers(lambda rows, name: rows.count(name)),
}


def prepare(tables: Tables, job: Job) -> dict[str, pd.DataFrame]:
    """The records with the column `first`: what comes first in the reverse question, which an edit's prompt decides."""
    starts = tables["facts"].set_index("case_id")["prompt"].str.startswith("{}")
    begins = tables["records"]["case_id"].map(starts).astype(bool)
    return {"records": tables["records"].assign(first=np.where(begins, "relation first", "subject first"))}


def rows(tables: Tables, job: Job) -> pd.DataFrame:
    """A row per editor, kind of question and metric (SHOWN), editors as in the papers. ValueError for facts that were
    not edited alone, or if none has a reverse question.
    """
    keyed = []
    for method, records in tables["records"].groupby("method", sort=False):
        keys = records[KEYS].iloc[0].to_dict()
        if not FactGroup.parse(keys["n"]).alone or "VS" not in records or records["VS"].isna().all():
            raise ValueError(f"{ITEM}: {method}, n {keys['n']}: right is 1, each fact alone, with reverse questions")
        for kind, of_kind in ASKED.items():
            asked = of_kind.of(Tables.of(records=records))
            keyed += [
                keys | {"kind": kind, "metric": metric}
                for metric, name in NAMES[kind].items()
                if asked[name].notna().any()
            ]
    frame = pd.DataFrame(keyed)
    rank = frame["method"].map(style.method_order(frame["method"]).index)
    return frame.assign(rank=rank).sort_values("rank", kind="stable").drop(columns="rank")


DERIVATION = Derivation(COLUMNS, rows, prepare)


def _mark(kind: str, color: str) -> dict[str, Any]:
    """How a kind of question is marked, as arguments of matplotlib."""
    *_, marker, filled = KINDS[kind]
    face = color if filled else "white"
    return {"color": color, "marker": marker, "markersize": 3.6, "linestyle": "none", "markerfacecolor": face}


def draw(frame: pd.DataFrame) -> Figure:
    """A panel per metric, a row per editor, a mark per kind of question."""
    methods = list(frame["method"].unique())
    looks = style.method_looks(set(methods) - {curves.UNEDITED}) | {curves.UNEDITED: ("0.35", "-", None)}
    fig = style.figure(style.DOUBLE, 0.9 + 0.3 * len(methods))
    kinds = [kind for kind in KINDS if (frame["kind"] == kind).any()]
    for ax, (metric, title) in zip(fig.subplots(1, 2, sharey=True), SHOWN.items()):
        for at, kind in enumerate(kinds):
            rows = frame[(frame["metric"] == metric) & (frame["kind"] == kind)]
            for row in rows.itertuples():
                ax.errorbar(
                    [row.value],
                    [methods.index(row.method) + 0.19 * (at - (len(kinds) - 1) / 2)],
                    xerr=[row.ci],
                    capsize=1.5,
                    elinewidth=0.8,
                    **_mark(kind, looks[row.method][0]),
                )
        ax.set(title=title, ylim=(len(methods) - 0.45, -0.55), xlim=(-4 if metric == "success" else -104, 104))
        ax.grid(True, axis="x", linewidth=0.3, color="0.85")
        ax.set_axisbelow(True)
    fig.axes[0].set_yticks(
        range(len(methods)), [style.method_label(method, "").removesuffix(" ()") for method in methods]
    )
    counts = frame.groupby("kind")["count"].max()
    for kind in kinds:
        fig.axes[0].plot([], [], label=f"{KINDS[kind][2]} ({counts[kind]:,})", **_mark(kind, "0.35"))
    fig.supxlabel(f"mean over records x 100, {style.shorten(frame['model'].iloc[0], 30)}", fontsize=style.SIZE)
    handles, labels = fig.axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, handletextpad=0.3)
    return style.finish(fig)


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["facts*", "records*"], DERIVATION, draw)


if __name__ == "__main__":
    main()
