"""Metrics over the relations of the facts that were edited together, and over other kinds that have no order. No
torch.
"""

import pandas as pd

from engram.drawing import curves, style
from engram.evaluation import metrics
from engram.job import io
from engram.settings.fact_groups import FactGroup

KEYS = ["model", "dataset", "method", "n"]


def read(paths, shown, item: str) -> pd.DataFrame:
    """From tables `records` of groups of relations (n is 100of3, 100of3+5): KEYS; `relations`, the names as in n,
    joined by ` + `; facts; metric of `shown`, value and ci times 100, count. ValueError for facts that are not chosen
    by relation.
    """
    parts = []
    for records in map(io.read_table, paths):
        keys = records[KEYS].iloc[0].to_dict()
        if not FactGroup.parse(keys["n"]).ranks:
            raise ValueError(f"{item}: {keys['method']}, n {keys['n']}: right are facts of chosen relations, as 100of3")
        found = metrics.summary(records, keys["dataset"])
        found = found[found["metric"].isin(shown)].drop(columns="after")
        names = " + ".join(sorted(records["relation_id"].unique()))
        parts.append(found.assign(**keys, relations=names, facts=len(records)))
    frame = pd.concat(parts, ignore_index=True)
    return frame[[*KEYS, "relations", "facts", "metric", "value", "ci", "count"]]


def ordered(frame: pd.DataFrame, shown) -> pd.DataFrame:
    """Metrics in the order of `shown`, then relations from the best S of the last editor down, then editors as in the
    papers.
    """
    methods = style.method_order(frame["method"])
    last = frame[(frame["metric"] == "S") & (frame["method"] == methods[-1])].set_index("relations")["value"]
    order = list(last.sort_values(ascending=False, kind="stable").index)
    places = {"metric": list(shown).index, "relations": order.index, "method": methods.index}
    return frame.sort_values(list(places), key=lambda names: names.map(places[names.name]), ignore_index=True)


def draw(frame: pd.DataFrame, place: str, of: str, lines: dict, label: str, width: float = style.DOUBLE):
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
    turned = {"rotation": 90} if len(places) > 12 else {}
    fig.axes[-1].set_xticks(range(len(places)), [style.shorten(str(name), 24) for name in places], **turned)
    fig.axes[-1].set_xlabel(label)
    handles = dict(zip(*reversed(fig.axes[0].get_legend_handles_labels())))
    if len(handles) > 1:
        fig.legend(handles.values(), handles, loc="outside upper center", ncols=min(5, len(handles)), frameon=False)
    return style.finish(fig)


def _shifts(count: int) -> list[float]:
    return [0.5 * (index - (count - 1) / 2) / max(count, 2) for index in range(count)]


def _marks(ax, rows, places: list, place: str, shift: float, line) -> None:
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
