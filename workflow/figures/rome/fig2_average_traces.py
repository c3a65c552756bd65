"""Average indirect effect (AIE) of restoring a hidden state, an MLP window or an attention window, by token and layer.

The three panels share one scale, from 0 to the largest effect of a hidden state. Framed and printed: the largest
effects at the last subject token and at the last token. Grey: no prompt has such a token. PAPER: ROME Fig. 2; for the
other models Fig. 8; for GPT-J MEMIT Fig. 3.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from engram.drawing import items, style
from engram.evaluation.derivation import KEY, Choice, Derivation, Job, Tables, own
from engram.evaluation.indirect_effects import CELLS, EFFECT, PEAK_LAYER, SCALARS, categorised, cells, scalars

CELL = "indirect_effect"  # the quantity of a cell of the panels
PEAKS = ("Last subject token", "Last token")  # the early and the late site: their largest effect is printed


COLUMNS = {
    "model": KEY,
    "quantity": KEY,
    "site": KEY,
    "category": KEY,
    "layer": Choice("quantity", {CELL: own("layer"), **PEAK_LAYER.cases}),
    "value": Choice("quantity", {CELL: EFFECT, **SCALARS}),
    "ci": Choice("quantity", {CELL: CELLS.half_width("score")}),
    "count": Choice("quantity", {CELL: CELLS.count()}),
}


def rows(tables: Tables, job: Job) -> pd.DataFrame:
    """A row per cell of the panels, then one per scalar that the paper quotes, which has no category."""
    effects = cells(tables["effects"], style.SITES).assign(quantity=CELL).astype({"layer": "Int64"})
    return pd.concat([effects, scalars(tables["effects"], style.SITES)], ignore_index=True)


DERIVATION = Derivation(COLUMNS, rows, lambda tables, job: categorised(tables, style.SITES, most=1))


def draw(frame: pd.DataFrame, window: int) -> Figure:
    """Three heatmaps (kinds of token x layers) from the numbers."""
    cells = frame[frame["quantity"] == "indirect_effect"]
    prompts = int(frame.loc[frame["quantity"] == "prompts", "value"].iloc[0])
    model = frame["model"].iloc[0]
    top = cells.loc[cells["site"] == "hidden", "value"].max()
    fig = style.figure(style.DOUBLE, 2.3)
    axes = fig.subplots(1, 3, sharey=True)
    for ax, (site, look) in zip(axes, style.SITES.items()):
        values = cells[cells["site"] == site].pivot(index="category", columns="layer", values="value")
        # Below 0 the scale ends, as in the original's clip; the csv keeps the sign.
        style.heatmap(ax, values.reindex(list(style.CATEGORIES)), site, 0.0, top, "AIE")
        peaks = [_peak(ax, category, values.loc[category]) for category in PEAKS if category in values.index]
        ax.set_title(look.title, pad=4 + 9.5 * len(peaks))
        ax.text(0.5, 1.03, "\n".join(peaks), transform=ax.transAxes, ha="center", va="bottom", linespacing=1.25)
        ax.set_xlabel(style.layer_label(site, window, model))
    axes[0].set_yticks([index + 0.5 for index in range(len(style.CATEGORIES))], list(style.CATEGORIES))
    for ax in axes:
        ax.tick_params(axis="y", length=0)
    fig.suptitle(f"Average indirect effect over N = {prompts:,} prompts")
    return style.finish(fig)


def _peak(ax: Axes, category: str, effects: pd.Series) -> str:
    """Frame the cell of a row's largest effect; returns that effect in words, as a cell may be narrower than a
    number.
    """
    row, layer = list(style.CATEGORIES).index(category), effects.idxmax()
    ax.add_patch(
        Rectangle((list(effects.index).index(layer), row), 1, 1, fill=False, linewidth=0.8, clip_on=False, zorder=3)
    )
    return f"{category.lower()}: {effects.max():.3f}, layer {layer}"


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["effects*", "traced*"], DERIVATION, draw, items.window)


if __name__ == "__main__":
    main()
