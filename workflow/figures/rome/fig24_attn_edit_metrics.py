"""How the metrics of single edits are spread over the records: AttnEdit beside the unedited model and ROME.

EM, PM, NM: differences of the two objects' probabilities for the fact, its paraphrases and its neighbourhood; GE:
entropy of generated text; RS: its likeness to reference texts; all x 100. Boxes: quartiles and median; whiskers reach
the last record within 1.5 times the box's height, circles are the records beyond. PAPER: ROME Fig. 24.
"""

import pandas as pd
from matplotlib.cbook import boxplot_stats

from engram.drawing import style
from engram.job import arguments, io

METRICS = {
    "EM": "Efficacy (EM)",
    "PM": "Paraphrases (PM)",
    "NM": "Neighbours (NM)",
    "GE": "Entropy (GE)",
    "RS": "Reference (RS)",
}
BOX = {"whislo": "low", "q1": "q1", "med": "median", "q3": "q3", "whishi": "high"}  # matplotlib's name -> the csv's
WHISKER = 1.5  # in heights of the box


def table(paths) -> pd.DataFrame:
    """model, method, metric, quantity (count, low, q1, median, q3, high; outlier, a row each), value. Metrics of texts
    are those of the records that have texts. ValueError for two tables of one editor, or records read along the way.
    """
    records = pd.concat([io.read_table(path) for path in paths], ignore_index=True)
    if records.duplicated(["method", "case_id"]).any() or records["dataset"].nunique() > 1:
        raise ValueError(
            "rome/fig24_attn_edit_metrics: a record occurs twice for one editor, or there are several datasets; "
            "right is one table of `counterfact` for each editor, with one n"
        )
    rows = []
    for method in style.method_order(records["method"]):
        part = records[records["method"] == method]
        for metric in METRICS:
            values = 100 * part[metric].dropna()
            if len(values):
                found = boxplot_stats(values.to_numpy(), whis=WHISKER)[0]
                quantities = [
                    ("count", len(values)),
                    *((name, found[key]) for key, name in BOX.items()),
                    *(("outlier", value) for value in sorted(found["fliers"])),
                ]
                rows += [(part["model"].iloc[0], method, metric, name, float(value)) for name, value in quantities]
    return pd.DataFrame(rows, columns=["model", "method", "metric", "quantity", "value"])


def draw(frame: pd.DataFrame):
    """A panel per metric, a box per editor."""
    shown = [metric for metric in METRICS if (frame["metric"] == metric).any()]
    methods = list(dict.fromkeys(frame["method"]))
    fig = style.figure(style.DOUBLE, 2.3)
    for ax, metric in zip(fig.subplots(1, len(shown), squeeze=False)[0], shown):
        for place, method in enumerate(methods):
            rows = frame[(frame["metric"] == metric) & (frame["method"] == method)]
            if len(rows):
                _box(ax, place, rows, method)
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


def _box(ax, place: int, rows: pd.DataFrame, method: str) -> None:
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


def main(argv=None):
    job = arguments.parse(__file__, __doc__, argv, inputs=["records*"], outputs=["pdf", "png", "csv"], keys=["model"])
    frame = table(job.inputs.records)
    style.save(job, draw(frame), frame)


if __name__ == "__main__":
    main()
