"""Perplexity of edited models on text that training did not see: by number of facts that one model holds, and by
editor.

Of a passage that names an edited subject, the object that the edit replaces does not count. Perplexity: exp of the mean
negative log-likelihood per token. Lines are 95% confidence intervals of its ratio to the unedited model's on the same
tokens, over the edited models or, where there is one alone, over its passages. Dotted: the unedited model. PAPER:
beyond the papers, drift on held-out text.
"""

import numpy as np
import pandas as pd

from engram.drawing import curves, style
from engram.evaluation import metrics
from engram.job import arguments, io

ITEM = "beyond/perplexity"
KEYS = ["model", "dataset", "method", "n", "after"]


def table(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """A row per editor and number of facts: KEYS, perplexity, low and high, unedited (the same tokens before the edit),
    models, passages, tokens. Of two words n that give one number of facts, the one with more models. ValueError if
    nothing was read.
    """
    drift = pd.concat(tables, ignore_index=True)
    if drift.empty or drift.groupby("method").size().reindex(drift["method"].unique()).isna().any():
        raise ValueError(f"{ITEM}: no model has read any passage; right is edit.perplexity.passages above 0")
    rows = pd.DataFrame([dict(zip(KEYS, key)) | _point(part) for key, part in drift.groupby(KEYS, sort=False)])
    rows["rank"] = rows["method"].map(style.method_order(rows["method"]).index)
    rows = rows.sort_values(["rank", "after", "models"], ascending=[True, True, False], kind="stable")
    return rows.drop_duplicates(["method", "after"]).drop(columns="rank").reset_index(drop=True)


def _point(rows: pd.DataFrame) -> dict:
    """Every model counts the same, each token of one as well."""
    sums = rows.assign(after=rows["nll"] * rows["tokens"], before=rows["nll_before"] * rows["tokens"]).groupby(
        "case_id"
    )
    models = sums[["after", "before"]].sum().div(sums["tokens"].sum(), axis=0)
    units = models["after"] - models["before"] if len(models) > 1 else rows["nll"] - rows["nll_before"]
    level, ci = models.mean(), metrics.mean_ci(units)[1]
    return {
        "perplexity": np.exp(level["after"]),
        "low": np.exp(level["after"] - ci),
        "high": np.exp(level["after"] + ci),
        "unedited": np.exp(level["before"]),
        "models": len(models),
        "passages": rows["passage_id"].nunique(),
        "tokens": int(rows["tokens"].sum()),
    }


def draw(frame: pd.DataFrame):
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


def _lines(ax, edited: pd.DataFrame, looks: dict) -> None:
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


def main(argv=None):
    job = arguments.parse(__file__, __doc__, argv, inputs=["drift*"], outputs=["pdf", "png", "csv"], keys=["model"])
    frame = table([io.read_table(path) for path in job.inputs.drift])
    style.save(job, draw(frame), frame)


if __name__ == "__main__":
    main()
