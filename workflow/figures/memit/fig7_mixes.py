"""Editing facts of two relations together, against as many facts of either alone: the score S over the number of facts.

One panel per pair of relations. S: harmonic mean of efficacy, paraphrases and neighbourhood. Grey: the mean of the two
relations alone, what a mixture would score if neither disturbed the other more than itself. PAPER: MEMIT Fig. 7.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engram.drawing import categories, items, style
from engram.evaluation.derivation import Derivation, Job, Key, Tables
from engram.settings.fact_groups import FactGroup

ITEM = "memit/fig7_mixes"
LOOKS = (("#1f77b4", "--", "s"), ("#d96a00", "-.", "^"), ("#2ca02c", "-", "o"))  # either relation, and both


def rows(tables: Tables, job: Job) -> pd.DataFrame:
    """A row per number of facts and choice of relations. ValueError for a mixture without its relations alone."""
    frame = categories.rows(tables, ("S", "ES", "PS", "NS"), ITEM)
    groups = [FactGroup.parse(n) for n in frame["n"]]
    frame = frame.assign(of=[group.ranks for group in groups], wanted=[group.facts for group in groups])
    alone = {(of[0], wanted) for of, wanted in zip(frame["of"], frame["wanted"]) if len(of) == 1}
    for of, wanted in sorted({(of, wanted) for of, wanted in zip(frame["of"], frame["wanted"]) if len(of) > 1}):
        missing = [rank for rank in of if (rank, wanted) not in alone]
        if len(of) > 2 or missing or frame["method"].nunique() > 1:
            raise ValueError(
                f"{ITEM}: {wanted} facts of {of}; right are pairs of relations, of one editor, with {wanted} of "
                "each alone"
            )
    frame = frame.sort_values(["wanted", "of", "metric"], ignore_index=True)
    return frame.assign(of=["+".join(map(str, of)) for of in frame["of"]])


IN_N = Key("said by n: the ranks of the relations, and how many facts were wanted")
DERIVATION = Derivation({**categories.COLUMNS, "of": IN_N, "wanted": IN_N}, rows)


def draw(frame: pd.DataFrame) -> Figure:
    """A panel per pair."""
    rows = frame[frame["metric"] == "S"]
    pairs = [of for of in dict.fromkeys(rows["of"]) if "+" in of]
    if not pairs:
        raise ValueError(f"{ITEM}: no mixture of two relations; right is an n such as 100of1+2")
    fig = style.figure(min(style.DOUBLE, 2.3 * len(pairs) + 0.3), 2.3)
    for ax, pair in zip(fig.subplots(1, len(pairs), sharey=True, squeeze=False)[0], pairs):
        _panel(ax, rows, pair)
    method, model = style.method_label(frame["method"].iloc[0], ""), style.shorten(frame["model"].iloc[0], 30)
    fig.axes[0].set_ylabel("score S")
    fig.supxlabel(f"facts edited together by {method}, {model}", fontsize=style.SIZE)
    return style.finish(fig)


def _panel(ax: Axes, rows: pd.DataFrame, pair: str) -> None:
    both = rows[rows["of"] == pair]
    alone = [rows[(rows["of"] == of) & rows["wanted"].isin(both["wanted"])] for of in pair.split("+")]
    for part, (color, dashes, marker) in zip((*alone, both), LOOKS):
        name = "both, half each" if part is both else style.shorten(part["relations"].iloc[0], 22)
        ax.plot(part["facts"], part["value"], color=color, linestyle=dashes, marker=marker, markersize=3, label=name)
    mean = sum(part["value"].to_numpy() for part in alone) / 2
    ax.plot(both["facts"], mean, color="0.5", linestyle=":", linewidth=1.4, label="mean of the two")
    ax.set_xscale("log")
    ax.set_xticks(sorted(both["facts"]), [f"{facts:,}" for facts in sorted(both["facts"])])
    ax.minorticks_off()
    ax.set_ylim(-4, 104)
    ax.grid(True, linewidth=0.3, color="0.85")
    ax.legend(loc="lower left", frameon=False)


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["records*"], DERIVATION, draw)


if __name__ == "__main__":
    main()
