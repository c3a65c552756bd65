"""How far an edit moves the weights, against what it does: efficacy, neighbours and generated text, one mark per edited
fact.

The norm is that of all changes of one edit, as a share of the norm of the weights that it changes. EM: how much
likelier the new object is than the true one; NM: the same of the true object in prompts about neighbouring subjects;
GE: entropy of n-grams of generated text. An edit far to the right with a low GE has broken the model (a disabling
edit). All x 100. PAPER: beyond the papers, edit norms against success.
"""

import numpy as np
import pandas as pd

from engram.drawing import style
from engram.job import arguments, io
from engram.settings.fact_groups import FactGroup

SHOWN = {"EM": "Efficacy (EM)", "NM": "Neighbours (NM)", "GE": "Entropy of texts (GE)"}
KEYS = ["model", "dataset", "method", "n", "case_id"]
ITEM = "beyond/edit_norms"


def shares(norms: pd.DataFrame) -> pd.DataFrame:
    """KEYS and `norm`: the Frobenius norm of all changes of one edit over that of the weights changed."""
    squares = norms.assign(delta=norms["delta_norm"] ** 2, weight=norms["weight_norm"] ** 2).groupby(KEYS, sort=False)
    sums = squares[["delta", "weight"]].sum()
    return (np.sqrt(sums["delta"] / sums["weight"])).rename("norm").reset_index()


def table(norms: list[pd.DataFrame], records: list[pd.DataFrame]) -> pd.DataFrame:
    """A row per editor and fact: KEYS, norm, the metrics of SHOWN times 100 (GE is missing where no text was
    generated).

    ValueError for facts that were not edited alone, or that have no norm or no metrics, or if no edit changes anything.
    """
    norms, records = pd.concat(norms, ignore_index=True), pd.concat(records, ignore_index=True)
    if not all(FactGroup.parse(n).alone for n in {*norms["n"], *records["n"]}):
        raise ValueError(f"{ITEM}: n {sorted(map(str, {*norms['n'], *records['n']}))}: right is 1, each fact alone")
    frame = shares(norms).merge(records[[*KEYS, *SHOWN]], on=KEYS, how="outer", validate="one_to_one")
    bad = frame[frame[["norm", "EM"]].isna().any(axis=1)]
    if len(bad):
        raise ValueError(f"{ITEM}: {bad[KEYS].iloc[0].to_dict()} has no norm, or no metrics")
    if not (frame["norm"] > 0).any():
        raise ValueError(f"{ITEM}: no edit changes any weight; right are editors that do")
    frame[[*SHOWN]] *= 100
    ranks = frame["method"].map(style.method_order(frame["method"]).index)
    return frame.assign(rank=ranks).sort_values(["rank", "case_id"], ignore_index=True).drop(columns="rank")


def draw(frame: pd.DataFrame):
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


def main(argv=None):
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["norms*", "records*"], outputs=["pdf", "png", "csv"], keys=["model"]
    )
    frame = table(*([io.read_table(path) for path in paths] for paths in (job.inputs.norms, job.inputs.records)))
    style.save(job, draw(frame), frame)


if __name__ == "__main__":
    main()
