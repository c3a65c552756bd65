"""Average indirect effect (AIE) of restoring a hidden state, an MLP window or an attention window, by token and layer.

The three panels share one scale, from 0 to the largest effect of a hidden state. Framed and printed: the largest
effects at the last subject token and at the last token. Grey: no prompt has such a token. PAPER: ROME Fig. 2; for the
other models Fig. 8; for GPT-J MEMIT Fig. 3.
"""

import pandas as pd
from matplotlib.patches import Rectangle

from engram.drawing import style, trace_tables
from engram.evaluation.indirect_effects import average_effects, summary
from engram.job import arguments

PEAKS = ("Last subject token", "Last token")  # the early and the late site: their largest effect is printed


def table(effects: pd.DataFrame, traced: pd.DataFrame, model: str) -> pd.DataFrame:
    """Long table (model, quantity, site, category, layer, value, ci, count): the cells and the scalars quoted.

    quantity: `indirect_effect` (one row per cell), and each name of effects.summary (prompts, clean, corrupted,
    average_total_effect, `peak: <category>`, `best score: <token>`), per site, without category, ci and count.
    """
    cells = [average_effects(effects, traced, site).assign(site=site) for site in style.SITES]
    scalars = [summary(effects, traced, site).assign(site=site) for site in style.SITES]
    cells = pd.concat(cells).rename(columns={"indirect_effect": "value"}).assign(quantity="indirect_effect")
    frame = pd.concat([cells, pd.concat(scalars).rename(columns={"name": "quantity"})], ignore_index=True)
    frame = frame.assign(model=model).astype({"layer": "Int64", "count": "Int64"})
    return frame[["model", "quantity", "site", "category", "layer", "value", "ci", "count"]]


def draw(frame: pd.DataFrame, window: int):
    """Three heatmaps (kinds of token x layers) from `table`'s frame."""
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


def _peak(ax, category: str, effects: pd.Series) -> str:
    """Frame the cell of a row's largest effect; returns that effect in words, as a cell may be narrower than a
    number.
    """
    row, layer = list(style.CATEGORIES).index(category), effects.idxmax()
    ax.add_patch(
        Rectangle((list(effects.index).index(layer), row), 1, 1, fill=False, linewidth=0.8, clip_on=False, zorder=3)
    )
    return f"{category.lower()}: {effects.max():.3f}, layer {layer}"


def main(argv=None):
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["effects*", "traced*"], outputs=["pdf", "png", "csv"], keys=["model"]
    )
    frame = table(*trace_tables.read(job.inputs, trace_tables.SITES, most=1), job.keys.model)
    style.save(job, draw(frame, job.config["model"]["trace_window"]), frame)


if __name__ == "__main__":
    main()
