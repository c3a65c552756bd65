"""How far an edit moves the weights, against what it does: efficacy, neighbours and generated text, one mark per edited
fact.

The norm is that of all changes of one edit, as a share of the norm of the weights that it changes. EM: how much
likelier the new object is than the true one; NM: the same of the true object in prompts about neighbouring subjects;
GE: entropy of n-grams of generated text. An edit far to the right with a low GE has broken the model (a disabling
edit). All x 100. PAPER: beyond the papers, edit norms against success.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import items, style
from engram.evaluation.derivation import KEY, Derivation, Job, Rows, Tables
from engram.settings.fact_groups import FactGroup

SHOWN = {"EM": "Efficacy (EM)", "NM": "Neighbours (NM)", "GE": "Entropy of texts (GE)"}
KEYS = ["model", "dataset", "method", "n", "case_id"]
ITEM = "beyond/edit_norms"


def _share(table: pd.DataFrame, by: list[str]) -> pd.Series:
    """The Frobenius norm of all changes of one edit over that of the weights changed."""
    squares = table.assign(delta=table["delta_norm"] ** 2, weight=table["weight_norm"] ** 2)
    sums = squares.groupby(by, sort=False)[["delta", "weight"]].sum()
    return np.sqrt(sums["delta"] / sums["weight"])


NORMS, RECORDS = Rows("norms", by=tuple(KEYS)), Rows("records", by=tuple(KEYS))
SHARE = NORMS.apply(
    _share, "root of the summed squares of the changes over those of the weights", "delta_norm", "weight_norm"
)
COLUMNS = {
    **dict.fromkeys(KEYS, KEY),
    "norm": SHARE,
    **{metric: 100 * RECORDS.cell(metric) for metric in SHOWN},  # GE is missing where no text was generated
}


def rows(tables: Tables, job: Job) -> pd.DataFrame:
    """A row per editor and fact, editors as in the papers.

    ValueError for facts that were not edited alone, or that have no norm or no metrics, or if no edit changes anything.
    """
    norms, records = tables["norms"], tables["records"]
    numbers = {*norms["n"], *records["n"]}
    if not all(FactGroup.parse(n).alone for n in numbers):
        raise ValueError(f"{ITEM}: n {sorted(map(str, numbers))}: right is 1, each fact alone")
    keys = norms[KEYS].drop_duplicates().merge(records[[*KEYS, "EM"]], on=KEYS, how="outer", indicator=True)
    bad = keys[(keys["_merge"] != "both") | keys["EM"].isna()]
    if len(bad):
        raise ValueError(f"{ITEM}: {bad[KEYS].iloc[0].to_dict()} has no norm, or no metrics")
    if not (norms["delta_norm"] > 0).any():
        raise ValueError(f"{ITEM}: no edit changes any weight; right are editors that do")
    ranks = keys["method"].map(style.method_order(keys["method"]).index)
    return keys.assign(rank=ranks).sort_values(["rank", "case_id"])[KEYS]


DERIVATION = Derivation(COLUMNS, rows)


def draw(frame: pd.DataFrame) -> Figure:
    """A panel per metric over the norm, on a logarithmic axis; edits without any change have no place there."""
    still, frame = int((frame["norm"] == 0).sum()), frame[frame["norm"] > 0]
    looks = style.method_looks(set(frame["method"]))
    fig = style.figure(style.DOUBLE, 2.4)
    for ax, (metric, title) in zip(fig.subplots(1, len(SHOWN)), SHOWN.items()):
        for method, (color, _, marker) in looks.items():
            rows = frame[(frame["method"] == method) & frame[metric].notna()]
            filled = {"color": color} if marker == "x" else {"facecolors": "none", "edgecolors": color}
            ax.scatter(
                rows["norm"],
                rows[metric],
                s=6,
                marker=marker,
                linewidths=0.7,
                **filled,
                label=style.method_label(method, ""),
            )
        style.log_axis(ax.xaxis, frame["norm"])
        ax.grid(True, linewidth=0.3, color="0.85")
        ax.set(title=title, axisbelow=True)
    fig.axes[0].set_ylabel("of one record x 100")
    more = f" (without the {still} edits that change nothing)" if still else ""
    fig.supxlabel(
        f"norm of the change / norm of the weights, {style.shorten(frame['model'].iloc[0], 30)}{more}",
        fontsize=style.SIZE,
    )
    handles, labels = fig.axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=min(6, len(labels)), frameon=False)
    return style.finish(fig)


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["norms*", "records*"], DERIVATION, draw)


if __name__ == "__main__":
    main()
