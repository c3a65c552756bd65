"""Perplexity of edited models on text that training did not see: by number of facts that one model holds, and by
editor.

Of a passage that names an edited subject, the object that the edit replaces does not count. Perplexity: exp of the mean
negative log-likelihood per token. Lines are 95% confidence intervals of its ratio to the unedited model's on the same
tokens, over the edited models or, where there is one alone, over its passages. Dotted: the unedited model. PAPER:
beyond the papers, drift on held-out text.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engram.drawing import curves, items, style
from engram.evaluation.derivation import KEY, Derivation, Job, Rows, Tables, half_width

ITEM = "beyond/perplexity"
KEYS = ["model", "dataset", "method", "n", "after"]


def _models(part: pd.DataFrame) -> pd.DataFrame:
    """Mean negative log-likelihood per token of each model, `after` the edit and `before`."""
    sums = part.assign(after=part["nll"] * part["tokens"], before=part["nll_before"] * part["tokens"]).groupby(
        "case_id"
    )
    return sums[["after", "before"]].sum().div(sums["tokens"].sum(), axis=0)


def _perplexity(part: pd.DataFrame, sign: int) -> float:
    """Every model counts the same; with a sign, an end of the interval of the ratio to the unedited model."""
    models = _models(part)
    units = models["after"] - models["before"] if len(models) > 1 else part["nll"] - part["nll_before"]
    return float(np.exp(models.mean()["after"] + sign * half_width(units)))


DRIFT, READ = Rows("drift", by=tuple(KEYS)), ("nll", "nll_before", "tokens", "case_id")
COLUMNS = {
    **dict.fromkeys(KEYS, KEY),
    "perplexity": DRIFT.each(lambda part: _perplexity(part, 0), "perplexity, exp of the mean over models", *READ),
    "low": DRIFT.each(lambda part: _perplexity(part, -1), "lower end of its interval", *READ),
    "high": DRIFT.each(lambda part: _perplexity(part, 1), "upper end of its interval", *READ),
    "unedited": DRIFT.each(lambda part: np.exp(_models(part).mean()["before"]), "perplexity before the edit", *READ),
    "models": DRIFT.of_column(lambda values: values.nunique(), "number of different values", "case_id"),
    "passages": DRIFT.of_column(lambda values: values.nunique(), "number of different values", "passage_id"),
    "tokens": DRIFT.of_column(lambda values: values.sum(), "sum", "tokens"),
}


def rows(tables: Tables, job: Job) -> pd.DataFrame:
    """A row per editor and number of facts. Of two words n that give one number of facts, the one with more models.
    ValueError if nothing was read.
    """
    drift = tables["drift"]
    if drift.empty:
        raise ValueError(f"{ITEM}: no model has read any passage; right is edit.perplexity.passages above 0")
    frame = drift.groupby(KEYS, sort=False)["case_id"].nunique().rename("models").reset_index()
    frame["rank"] = frame["method"].map(style.method_order(frame["method"]).index)
    frame = frame.sort_values(["rank", "after", "models"], ascending=[True, True, False], kind="stable")
    return frame.drop_duplicates(["method", "after"])[KEYS]


DERIVATION = Derivation(COLUMNS, rows)


def draw(frame: pd.DataFrame) -> Figure:
    """Left, where models hold several facts: perplexity over their number. Right: single edits, a mark per editor."""
    edited = frame[frame["method"] != curves.UNEDITED]
    looks, many = style.method_looks(set(edited["method"])), bool((edited["after"] > 1).any())
    single = edited[edited["after"] == 1]
    fig = style.figure(style.DOUBLE if many else style.SINGLE, 0.9 + 0.17 * max(9, len(single)))
    left, right = fig.subplots(1, 2) if many else (None, fig.subplots())
    if many:
        _lines(left, edited, looks)
        style.log_axis(left.yaxis, edited[["low", "high"]])
        left.set(
            title="Facts edited in one model",
            xlabel=f"facts edited, {style.shorten(frame['model'].iloc[0], 30)}",
            ylabel="perplexity of held-out text",
        )
        left.axhline(
            frame["unedited"].median(), color="0.4", linestyle=(0, (1, 2)), linewidth=0.9, label=style.METHODS["none"]
        )
    for place, row in enumerate(single.itertuples()):
        color, _, marker = looks[row.method]
        right.errorbar(
            [row.perplexity],
            [place],
            xerr=[[row.perplexity - row.low], [row.high - row.perplexity]],
            color=color,
            marker=marker,
            markersize=3.5,
            capsize=1.5,
            elinewidth=0.9,
            linestyle="none",
        )
    right.axvline(frame["unedited"].median(), color="0.4", linestyle=(0, (1, 2)), linewidth=0.9)
    style.log_axis(right.xaxis, [*single["low"], *single["high"], frame["unedited"].median()])
    right.set_yticks(range(len(single)), [style.method_label(method, "") for method in single["method"]])
    right.set(
        title="Single edits",
        ylim=(len(single) - 0.4, -0.6),
        xlabel=f"perplexity of held-out text, {style.shorten(frame['model'].iloc[0], 30)}",
    )
    for ax in filter(None, (left, right)):
        ax.grid(True, linewidth=0.3, color="0.85")
        ax.set_axisbelow(True)
    if many:
        handles, labels = left.get_legend_handles_labels()
        fig.legend(
            handles, labels, loc="outside upper center", ncols=min(6, len(labels)), frameon=False, handlelength=3
        )
    return style.finish(fig)


def _lines(ax: Axes, edited: pd.DataFrame, looks: dict) -> None:
    for method, rows in edited.groupby("method", sort=False):
        if (rows["after"] > 1).any():
            color, dashes, marker = looks[method]
            ax.plot(
                rows["after"],
                rows["perplexity"],
                color=color,
                linestyle=dashes,
                marker=marker,
                markersize=2.8,
                label=style.method_label(method, ""),
            )
            ax.fill_between(rows["after"], rows["low"], rows["high"], color=color, alpha=0.2, linewidth=0)
    style.log_axis(ax.xaxis, edited["after"])


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["drift*"], DERIVATION, draw)


if __name__ == "__main__":
    main()
