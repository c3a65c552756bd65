"""Metrics over the relations of the facts that were edited together, and over other kinds that have no order. No
torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engram.drawing import curves, style
from engram.evaluation import metrics
from engram.evaluation.derivation import KEY, Number, Rows, Tables
from engram.settings.fact_groups import FactGroup

KEYS = ["model", "dataset", "method", "n"]


GROUP = Rows("records", by=("method", "n"))
DATASET = "counterfact"
COLUMNS: dict[str, Number] = {
    **dict.fromkeys((*KEYS, "relations"), KEY),  # relations: their names as in n, joined by ` + `
    "facts": GROUP.count(),
    "metric": KEY,
    **metrics.numbers(GROUP, DATASET),
}


def rows(tables: Tables, shown: Sequence[str], item: str) -> pd.DataFrame:
    """KEYS, relations and metric (of `shown`) of groups of relations (n is 100of3, 100of3+5) in the table `records`.
    ValueError for facts that are not chosen by relation.
    """
    parts = []
    for (method, n), records in tables["records"].groupby(["method", "n"], sort=False):
        if not FactGroup.parse(n).ranks:
            raise ValueError(f"{item}: {method}, n {n}: right are facts of chosen relations, as 100of3")
        names = " + ".join(sorted(records["relation_id"].unique()))
        measured = [metric for metric in metrics.measured(records, DATASET) if metric in shown]
        parts.append(
            records[KEYS].iloc[:1].assign(relations=names).merge(pd.DataFrame({"metric": measured}), how="cross")
        )
    return pd.concat(parts, ignore_index=True)


def ordered(frame: pd.DataFrame, shown: Sequence[str], number: Number, tables: Tables) -> pd.DataFrame:
    """Metrics in the order of `shown`, then relations from the best S of the last editor down, then editors as in the
    papers; `number`: the value of a row.
    """
    methods = style.method_order(frame["method"])
    last = frame[(frame["metric"] == "S") & (frame["method"] == methods[-1])]
    best = number.compute(last, tables).set_axis(last["relations"]).sort_values(ascending=False, kind="stable")
    ranks = {"metric": list(shown).index, "relations": list(best.index).index, "method": methods.index}
    return frame.sort_values(list(ranks), key=lambda names: names.map(ranks[names.name]), ignore_index=True)


def draw(
    frame: pd.DataFrame, place: str, of: str, lines: Mapping[str, curves.Line], label: str, width: float = style.DOUBLE
) -> Figure:
    """One panel per metric, one above the other; a mark with its 95% interval for every value of column `place`, in the
    order of the frame, and every entry of `lines` (value of column `of` -> curves.Line). The unedited model is a level.
    """
    shown = list(frame["metric"].unique())
    places = list(dict.fromkeys(frame.loc[frame["method"] != curves.UNEDITED, place]))
    fig = style.figure(width, 0.55 + 0.95 * len(shown))
    for ax, metric in zip(fig.subplots(len(shown), 1, sharex=True), shown):
        rows = frame[frame["metric"] == metric]
        for shift, (name, line) in zip(_shifts(len(lines)), lines.items()):
            _marks(ax, rows[(rows[of] == name) & (rows["method"] != curves.UNEDITED)], places, place, shift, line)
        for level in rows[rows["method"] == curves.UNEDITED]["value"]:
            ax.axhline(level, color="0.4", linestyle=(0, (1, 2)), linewidth=0.9, label=style.METHODS[curves.UNEDITED])
        ax.set(ylim=(-4, 104), ylabel=metric, xlim=(-0.6, len(places) - 0.4))
        ax.grid(True, axis="y", linewidth=0.3, color="0.85")
        ax.set_axisbelow(True)
    turned: dict[str, Any] = {"rotation": 90} if len(places) > 12 else {}
    fig.axes[-1].set_xticks(range(len(places)), [style.shorten(str(name), 24) for name in places], **turned)
    fig.axes[-1].set_xlabel(label)
    handles = dict(zip(*reversed(fig.axes[0].get_legend_handles_labels())))
    if len(handles) > 1:
        fig.legend(handles.values(), handles, loc="outside upper center", ncols=min(5, len(handles)), frameon=False)
    return style.finish(fig)


def draw_by_editor(frame: pd.DataFrame, label: str) -> Figure:
    """`draw` with relations on the x axis, and a mark for each editor."""
    lines = {
        method: curves.Line(style.method_label(method, ""), *look)
        for method, look in style.method_looks(set(frame["method"])).items()
    }
    return draw(frame, "relations", "method", lines, label)


def _shifts(count: int) -> list[float]:
    return [0.5 * (index - (count - 1) / 2) / max(count, 2) for index in range(count)]


def _marks(ax: Axes, rows: pd.DataFrame, places: list, place: str, shift: float, line: curves.Line) -> None:
    at = [places.index(name) + shift for name in rows[place]]
    ax.errorbar(
        at,
        rows["value"],
        yerr=rows["ci"].fillna(0),
        linestyle="none",
        marker=line.marker,
        markersize=3,
        capsize=1.5,
        elinewidth=0.8,
        color=line.color,
        label=line.label,
    )
