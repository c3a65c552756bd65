"""Metrics over a number, one panel each: facts edited together, a layer, a hyperparameter. No torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from engram.drawing import style
from engram.evaluation.derivation import KEY, Derivation, Job, Key, Number, Rows, Tables

KEYS = ["model", "dataset", "method", "n", "after"]
TITLES = {
    "S": "Score (S)",
    "ES": "Efficacy (ES)",
    "PS": "Paraphrases (PS)",
    "NS": "Neighbours (NS)",
    "EM": "Efficacy (EM)",
    "PM": "Paraphrases (PM)",
    "NM": "Neighbours (NM)",
}
UNEDITED = "none"  # a method that no number changes: a level, not a line


@dataclass(frozen=True)
class Line:
    """How one line is named and drawn."""

    label: str
    color: str
    dashes: Any  # matplotlib's linestyle
    marker: str | None


RESULT = Rows("summaries", by=("method", "n", "after", "metric"))
NUMBERS: dict[str, Number] = {"metric": KEY, **{name: RESULT.cell(name) for name in ("value", "ci", "count")}}


def rows(tables: Tables, metrics: Sequence[str], at: list[str], item: str) -> pd.DataFrame:
    """KEYS and metric of the rows of `metrics` in the table `summaries`, in the order of the metrics.

    ValueError if the columns `at` (method, and what is on the x axis) do not tell two rows of a metric apart, or one is
    missing.
    """
    frame = tables["summaries"]
    frame = frame.loc[frame["metric"].isin(metrics), [*KEYS, "metric"]]
    doubled = frame[frame.duplicated([*at, "metric"])]
    if len(doubled):
        first = ", ".join(map(str, doubled.iloc[0]))
        raise ValueError(f"{item}: {first} occurs twice; right is one row for each of {', '.join(at)}")
    for key, of_key in frame.groupby(at):
        if set(of_key["metric"]) != set(metrics):
            raise ValueError(
                f"{item}: {dict(zip(at, key))} lacks the metrics {sorted(set(metrics) - set(of_key['metric']))}"
            )
    return frame.sort_values(
        "metric", key=lambda names: names.map(list(metrics).index), kind="stable", ignore_index=True
    )


def with_points(frame: pd.DataFrame, points: dict[str, dict], keys: Sequence[str], item: str) -> pd.DataFrame:
    """The frame with the hyperparameters `keys` of the points of a sweep (slug -> point) as columns; the unedited model
    has none.

    ValueError for a sweep over other hyperparameters, or a method that is none of its points.
    """
    other = [slug for slug, point in points.items() if set(point) != set(keys)]
    strange = sorted(set(frame["method"]) - set(points) - {UNEDITED})
    if other or strange or not points:
        wrong = (
            f"over {', '.join(points[other[0]])}" if other else f"with {strange[0]}" if strange else "without a sweep"
        )
        raise ValueError(f"{item}: {wrong}; right is a sweep over {' and '.join(keys)}, beside it `{UNEDITED}` alone")
    of_row = [points.get(slug, {}) for slug in frame["method"]]
    return frame.assign(**{key: pd.Series([point.get(key) for point in of_row], frame.index, object) for key in keys})


def over_facts(metrics: Sequence[str], item: str) -> Derivation:
    """The rows of `metrics` in the table `summaries`, one for each method and number of facts."""
    columns = dict.fromkeys(KEYS, KEY) | NUMBERS
    return Derivation(columns, lambda tables, job: rows(tables, metrics, ["method", "after"], item))


def sweep(
    metrics: Sequence[str], keys: Sequence[str], item: str, placed: Callable[[pd.DataFrame], pd.DataFrame]
) -> Derivation:
    """The rows of `metrics` in the table `summaries` with the hyperparameters `keys` of their points; `placed` gives
    the frame of keys in its types and order, and refuses points that have no place in the figure.
    """
    point = Key("a hyperparameter of the point that `method` is, as the sweep in the parameter file has it")

    def placed_rows(tables: Tables, job: Job) -> pd.DataFrame:
        return placed(with_points(rows(tables, metrics, ["method"], item), job.config.get("points", {}), keys, item))

    return Derivation(dict.fromkeys(KEYS, KEY) | dict.fromkeys(keys, point) | NUMBERS, placed_rows)


def draw(frame: pd.DataFrame, x: str, of: str, lines: Mapping[Any, Line], label: str, log: bool = False) -> Figure:
    """One panel per metric of the numbers, values over the column `x`, one line per entry of `lines` and value of
    column `of`.

    Bands are 95% confidence intervals. The unedited model is a level.
    """
    metrics = list(frame["metric"].unique())
    fig = style.figure(style.DOUBLE, 2.15)
    for ax, metric in zip(fig.subplots(1, len(metrics)), metrics):
        rows = frame[frame["metric"] == metric]
        for name, line in lines.items():
            _line(ax, rows[(rows[of] == name) & (rows["method"] != UNEDITED)], x, line)
        for level in rows[rows["method"] == UNEDITED]["value"]:
            ax.axhline(level, color="0.4", linestyle=(0, (1, 2)), linewidth=0.9, label=style.METHODS[UNEDITED])
        _axes(ax, rows[rows["method"] != UNEDITED][x].astype(float), log)
        ax.set_title(TITLES[metric])
        if not metric.endswith("M"):
            ax.set_ylim(-3, 103)
    fig.axes[0].set_ylabel("mean over records x 100")
    fig.supxlabel(label, fontsize=style.SIZE)
    handles = dict(zip(*reversed(fig.axes[0].get_legend_handles_labels())))
    fig.legend(
        handles.values(), handles, loc="outside upper center", ncols=min(5, len(handles)), frameon=False, handlelength=3
    )
    return style.finish(fig)


def _line(ax: Axes, rows: pd.DataFrame, x: str, line: Line) -> None:
    rows = rows.assign(**{x: rows[x].astype(float)}).sort_values(x)
    ax.plot(
        rows[x],
        rows["value"],
        color=line.color,
        linestyle=line.dashes,
        marker=line.marker,
        markersize=2.8,
        label=line.label,
    )
    rows = rows[rows["ci"].notna()]
    ax.fill_between(
        rows[x], rows["value"] - rows["ci"], rows["value"] + rows["ci"], color=line.color, alpha=0.2, linewidth=0
    )


def _axes(ax: Axes, places: pd.Series, log: bool) -> None:
    if log:
        low, high = places.min(), places.max()
        decades = [10.0**power for power in range(-12, 13) if low <= 10.0**power <= high]
        if len(decades) < 3:  # the ends, and what is between them with room for its label
            room = (high / low) ** 0.25
            decades = [low, *(place for place in decades if low * room < place < high / room), high]
        ax.set_xscale("log")
        ax.set_xticks(decades, [f"{place:g}" for place in decades])
        ax.xaxis.set_minor_locator(NullLocator())
    elif (places == places.round()).all():
        style.layer_ticks(ax, int(places.max()) + 1)
    ax.grid(True, linewidth=0.3, color="0.85")
    ax.set_axisbelow(True)
