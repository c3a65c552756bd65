"""How the metrics of single edits are spread over the records: AttnEdit beside the unedited model and ROME.

EM, PM, NM: differences of the two objects' probabilities for the fact, its paraphrases and its neighbourhood; GE:
entropy of generated text; RS: its likeness to reference texts; all x 100. Boxes: quartiles and median; whiskers reach
the last record within 1.5 times the box's height, circles are the records beyond. PAPER: ROME Fig. 24.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats
from matplotlib.figure import Figure

from engram.drawing import items, style
from engram.evaluation.derivation import KEY, Choice, Derivation, Job, Number, Rows, Tables

METRICS = {
    "EM": "Efficacy (EM)",
    "PM": "Paraphrases (PM)",
    "NM": "Neighbours (NM)",
    "GE": "Entropy (GE)",
    "RS": "Reference (RS)",
}
BOX = {"whislo": "low", "q1": "q1", "med": "median", "q3": "q3", "whishi": "high"}  # matplotlib's name -> the csv's
WHISKER = 1.5  # in heights of the box


def _box(values: pd.Series) -> dict:
    """The numbers that matplotlib has of the box of one editor and metric."""
    return boxplot_stats(100 * values.dropna().to_numpy(), whis=WHISKER)[0]


RECORDS, RECORD = Rows("records", by=("method",)), Rows("records", by=("method", "case_id"))


def _numbers(metric: str) -> Number:
    """The numbers of a box over the editor's records, and single records as outliers."""
    ends = {
        name: RECORDS.of_column(lambda values, key=key: _box(values)[key], f"`{name}` of the box of 100 times", metric)
        for key, name in BOX.items()
    }
    return Choice("quantity", {"count": RECORDS.count(metric), **ends, "outlier": 100 * RECORD.cell(metric)})


COLUMNS = {
    **dict.fromkeys(("model", "method", "metric", "quantity"), KEY),
    "value": Choice("metric", {metric: _numbers(metric) for metric in METRICS}),
}


def rows(tables: Tables, job: Job) -> pd.DataFrame:
    """A row per editor, metric and quantity (count, low, q1, median, q3, high; outlier, one per record). Metrics of
    texts are those of the records that have texts. ValueError for two tables of one editor, or records read along the
    way.
    """
    records = tables["records"]
    if records.duplicated(["method", "case_id"]).any() or records["dataset"].nunique() > 1:
        raise ValueError(
            "rome/fig24_attn_edit_metrics: a record occurs twice for one editor, or there are several datasets; "
            "right is one table of `counterfact` for each editor, with one n"
        )
    quantities = []
    for method in style.method_order(records["method"]):
        part = records[records["method"] == method]
        for metric in METRICS:
            if part[metric].notna().any():
                cases, fliers = part.set_index("case_id")[metric].sort_values(), _box(part[metric])["fliers"]
                outliers = cases.index[(100 * cases).isin(fliers)]
                rows = [(name, -1) for name in ("count", *BOX.values())] + [("outlier", case) for case in outliers]
                quantities += [(part["model"].iloc[0], method, metric, *row) for row in rows]
    return pd.DataFrame(quantities, columns=["model", "method", "metric", "quantity", "case_id"])


DERIVATION = Derivation(COLUMNS, rows)


def draw(frame: pd.DataFrame) -> Figure:
    """A panel per metric, a box per editor."""
    shown = [metric for metric in METRICS if (frame["metric"] == metric).any()]
    methods = list(dict.fromkeys(frame["method"]))
    fig = style.figure(style.DOUBLE, 2.3)
    for ax, metric in zip(fig.subplots(1, len(shown), squeeze=False)[0], shown):
        for place, method in enumerate(methods):
            rows = frame[(frame["metric"] == metric) & (frame["method"] == method)]
            if len(rows):
                _draw_box(ax, place, rows, method)
        ax.set_xticks(
            range(len(methods)),
            ["Unedited" if name == "none" else style.method_label(name, "") for name in methods],
            rotation=90 if len(methods) > 2 else 0,
        )
        ax.set_title(METRICS[metric])
        ax.set_xlim(-0.6, len(methods) - 0.4)
        ax.grid(True, axis="y", linewidth=0.3, color="0.85")
        ax.set_axisbelow(True)
    fig.axes[0].set_ylabel("metric of a record x 100")
    counts = frame[frame["quantity"] == "count"].groupby("metric", sort=False)["value"].min().astype(int)
    fewer = [f"{metric} {count:,}" for metric, count in counts.items() if count < counts.max()]
    fig.suptitle(
        f"Single edits of {style.shorten(frame['model'].iloc[0], 30)}, N = {counts.max():,} records"
        + (f" ({', '.join(fewer)})" if fewer else "")
    )
    return style.finish(fig)


def _draw_box(ax: Axes, place: int, rows: pd.DataFrame, method: str) -> None:
    values = rows.set_index("quantity")["value"]
    stats = {key: values[name] for key, name in BOX.items()} | {
        "fliers": rows.loc[rows["quantity"] == "outlier", "value"]
    }
    colour = style.method_looks([method])[method][0] if method != "none" else "0.35"
    line = {"color": colour, "linewidth": 0.9}
    ax.bxp(
        [stats],
        positions=[place],
        widths=0.6,
        boxprops=line,
        whiskerprops=line,
        capprops=line,
        medianprops=line | {"linewidth": 1.8},
        flierprops={
            "marker": "o",
            "markersize": 2,
            "markeredgecolor": colour,
            "markeredgewidth": 0.5,
            "markerfacecolor": "none",
        },
    )


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["records*"], DERIVATION, draw)


if __name__ == "__main__":
    main()
