"""The panels that several figures of causal tracing share: heatmaps of single prompts, lines by layer, bars of severed
runs.
"""

from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from engram.drawing import prose, style
from engram.drawing.trace_tables import SEVERED, SITES
from engram.settings import noise_rules

CELL, HEAD, TITLE, FOOT = 0.135, 0.16, 0.15, 0.42  # inches: a row of a heatmap, the head, a line of title, the x axis
UNRESTORED = {
    "hidden": "Hidden states",
    "mlp": "MLP outputs",
    "attn": "Attention outputs",
}  # heads without a restoration
TITLE_PT = 420.0  # width of a title that is centred above the middle panel


def heatmaps(frame: pd.DataFrame, window: int | None, title: str = "", signed: str = "") -> Figure:
    """One row of three heatmaps (tokens x layers) per prompt and variant of the columns `trace_tables.CELLS`.

    The colours of a row start at the corrupted probability; rows of one prompt share their scale. `*`: token of the
    subject; `+`: corrupted as well. `signed`: the scores are no probabilities but something of this name and of either
    sign, of single layers; their colours go from minus the largest to the largest.
    """
    blocks = [block for _, block in frame.groupby(["prompt_id", "variant"], sort=False)]
    labels = [_token_labels(block) for block in blocks]
    titles = [prose.fit(_about(block), TITLE_PT) for block in blocks]
    lines = sum(text.count("\n") + 1 for text in titles) + bool(title)
    heights = [CELL * len(texts) for texts in labels]
    fig = style.figure(style.DOUBLE, sum(heights) + HEAD + lines * TITLE + len(blocks) * 0.1 + FOOT)
    fig.suptitle(title)
    grid = _grid(fig, heights, UNRESTORED if signed else None)
    for axes, block, texts, about in zip(grid, blocks, labels, titles):
        same = frame[frame["prompt_id"] == block["prompt_id"].iloc[0]]
        for ax, site in zip(axes, SITES):
            values = block[block["site"] == site].pivot(index="token", columns="layer", values="score")
            top = same.loc[same["site"] == site, "score"]
            if signed:
                style.heatmap(ax, values, site, -top.abs().max(), top.abs().max(), signed, style.SIGNED)
            else:
                style.heatmap(ax, values, site, same["corrupted"].min(), top.max(), "p(answer)")
            ax.tick_params(axis="y", length=0, labelleft=ax is axes[0])
            ax.tick_params(axis="x", labelbottom=axes is grid[-1])
        axes[0].set_yticks([index + 0.5 for index in range(len(texts))], texts)
        axes[1].set_title(about, fontsize=style.SIZE, pad=4)
    if signed:
        grid[-1][1].set_xlabel(f"layer within {style.shorten(frame['model'].iloc[0], 30)}")
    else:
        _layer_labels(grid[-1], window, frame["model"].iloc[0])
    return style.finish(fig)


def _about(block: pd.DataFrame) -> str:
    first, extra = block.iloc[0], block.loc[block["extra"], "token"].nunique()
    more = f" with {extra} more token{'s' * (extra > 1)}" if extra else ""
    return (
        f"“{style.shorten(first['prompt'], 150)}” → {style.shorten(first['answer'], 30)}: "
        f"p = {first['clean']:.2f} clean, {first['corrupted']:.2f} corrupted{more}"
    )


def _token_labels(block: pd.DataFrame) -> list[str]:
    tokens = block.drop_duplicates("token").sort_values("token")
    marks = ["*" if subject else "+" if extra else "" for subject, extra in zip(tokens["in_subject"], tokens["extra"])]
    return [style.token_label(text) + mark for text, mark in zip(tokens["text"], marks)]


def _grid(fig: Figure, heights: list[float], heads: dict[str, str] | None = None) -> list[list[Axes]]:
    """Rows of three axes with the given heights, under a head that names each column: what it restores, or `heads` by
    site.
    """
    fig.get_layout_engine().set(hspace=0)  # type: ignore[union-attr,call-arg]  # constrained, as style makes it
    axes = fig.subplots(1 + len(heights), 3, height_ratios=[0.01, *heights], squeeze=False)
    for ax, site in zip(axes[0], SITES):
        ax.set_axis_off()
        ax.set_title(heads[site] if heads else style.SITES[site].title, pad=1)
    return [list(row) for row in axes[1:]]


def _layer_labels(axes: list[Axes], window: int | None, model: str) -> None:
    for ax, site in zip(axes, SITES):
        ax.set_xlabel(style.layer_label(site, window, model))


def lines(frame: pd.DataFrame, window: int, settings: dict[str, dict]) -> Figure:
    """One row of three panels of lines over layers per variant, from `indirect_effects.averages`; `settings`: what each
    variant corrupts (noise, extra_tokens).

    Bands are 95% confidence intervals. All panels share one scale.
    """
    variants, layers = list(frame["variant"].unique()), int(frame["layer"].max()) + 1
    fig = style.figure(style.DOUBLE, 0.95 + 1.75 * len(variants))
    grid = _grid(fig, [1.0] * len(variants))
    handles: dict[str, Artist] = {}
    low, high = (frame["indirect_effect"] - frame["ci"]).min(), (frame["indirect_effect"] + frame["ci"]).max()
    for axes, variant in zip(grid, variants):
        for ax, site in zip(axes, SITES):
            rows = frame[(frame["variant"] == variant) & (frame["site"] == site)]
            handles |= _lines_of(ax, rows, layers)
            ax.set(xlim=(-0.3, layers - 0.7), ylim=(low - 0.03 * (high - low), high + 0.03 * (high - low)))
            ax.tick_params(labelleft=ax is axes[0], labelbottom=axes is grid[-1])
        prompts = frame.loc[frame["variant"] == variant, "prompts"].iloc[0]
        title = f"N = {prompts:,} prompts, {_noise(**settings[variant])}"
        axes[1].set_title(prose.fit(title, TITLE_PT), fontsize=style.SIZE, pad=4)
        axes[0].set_ylabel("average indirect\neffect on p(answer)")
    _layer_labels(grid[-1], window, frame["model"].iloc[0])
    order = [category for category in style.CATEGORIES if category in handles]
    fig.legend(
        [handles[name] for name in order], order, loc="outside lower center", ncols=3, frameon=False, handlelength=3.2
    )
    return style.finish(fig)


def _noise(noise: str, extra_tokens: int) -> str:
    """What a variant corrupts and how, in words."""
    also = f", {extra_tokens} more token{'s' * (extra_tokens > 1)} after the subject corrupted" if extra_tokens else ""
    return noise_rules.described(noise) + also


def _lines_of(ax: Axes, rows: pd.DataFrame, layers: int) -> dict[str, Artist]:
    """The lines of one site, by category."""
    handles: dict[str, Artist] = {}
    for category, (colour, dashes, marker) in style.CATEGORIES.items():
        line = rows[rows["category"] == category].sort_values("layer")
        if len(line):
            x, y, ci = (line[name].to_numpy(float) for name in ("layer", "indirect_effect", "ci"))
            handles[category] = ax.plot(
                x, y, color=colour, linestyle=dashes, marker=marker, markersize=3, markevery=max(1, layers // 8)
            )[0]
            ax.fill_between(x, y - ci, y + ci, color=colour, alpha=0.2, linewidth=0)
    style.layer_ticks(ax, layers)
    ax.grid(True, color="0.9", linewidth=0.5)
    ax.spines[["top", "right"]].set_visible(False)
    return handles


def severed_bars(ax: Axes, frame: pd.DataFrame) -> dict[str, Any]:
    """Three bars per layer: a single state's effect, and with attention or the MLPs severed; returns the handles.

    `frame`: site, layer, indirect_effect, and ci where the bars have intervals. PAPER: ROME Fig. 3.
    """
    layers, handles = int(frame["layer"].max()) + 1, dict[str, Any]()
    for place, site in zip((-0.3, 0.0, 0.3), SEVERED):
        name, colour, hatch = style.SEVERED[site]
        rows = frame[frame["site"] == site].sort_values("layer")
        x, y = rows["layer"].to_numpy(float) + place, rows["indirect_effect"].to_numpy(float)
        handles[name] = ax.bar(x, y, 0.3, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
        if "ci" in rows:
            ax.errorbar(x, y, rows["ci"].to_numpy(float), fmt="none", ecolor="0.25", elinewidth=0.5)
    ax.axhline(0, color="black", linewidth=0.6)
    ax.set_xlim(-0.7, layers - 0.3)
    style.layer_ticks(ax, layers)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    ax.grid(True, axis="y", color="0.9", linewidth=0.5)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return handles
