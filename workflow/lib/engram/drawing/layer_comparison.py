"""Effects of tracing and scores of editing by layer, and one against the other."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engram.drawing import style

METRICS = {"S": ("-", "o"), "ES": ("--", "s"), "PS": (":", "^"), "NS": ("-.", "D")}
EFFECTS: dict[str, tuple[str, str, str, str]] = {
    "mlp": ("MLPs", "#2a922a", "-", "o"),
    "hidden": ("hidden", "#7261ab", "--", "s"),
    "attn": ("attention", "#d62728", ":", "^"),
}
AGAINST = "mlp"  # PAPER: ROME edits an MLP because windows of MLPs matter there


def _pairs(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Effect of AGAINST and the metric, by layer, for the edited layers."""
    by_layer = {
        name: frame[frame["quantity"] == name].set_index("layer")["value"].astype(float)
        for name in (f"effect of {AGAINST}", metric)
    }
    return pd.DataFrame(by_layer).dropna()


def draw(frame: pd.DataFrame, window: int) -> Figure:
    """Three panels from the numbers."""
    model, layers = style.shorten(frame["model"].iloc[0], 30), int(frame["layer"].max()) + 1
    fig = style.figure(style.DOUBLE, 2.7)
    left, middle, right = fig.subplots(1, 3)
    for site, look in EFFECTS.items():
        _line(left, frame[frame["quantity"] == f"effect of {site}"], *look)
    for metric, (dashes, marker) in METRICS.items():
        _line(middle, frame[frame["quantity"] == metric], metric, style.LINES["rome"][0], dashes, marker)
    for ax, label in (
        (left, f"restored layer of {model}\n(MLPs, attention: window of {window})"),
        (middle, f"layer of {model}\nthat ROME edits"),
    ):
        style.layer_ticks(ax, layers)
        ax.set(xlabel=label, xlim=(-0.4, layers - 0.6))
    left.set(title="Tracing", ylabel="average indirect effect on p(answer)")
    middle.set(title="Editing", ylabel="mean over records x 100", ylim=(-4, 104))
    _scatter(right, frame)
    for ax in (left, middle):
        ax.legend(
            loc="upper center",
            bbox_to_anchor=(0.45, -0.26),
            ncols=4,
            frameon=False,
            handlelength=2.4,
            columnspacing=0.9,
        )
    for ax in (left, middle, right):
        ax.grid(True, linewidth=0.3, color="0.85")
        ax.set_axisbelow(True)
    return style.finish(fig)


def _line(ax: Axes, rows: pd.DataFrame, name: str, colour: str, dashes: Any, marker: str) -> None:
    x, y, ci = (rows[key].to_numpy(dtype=float) for key in ("layer", "value", "ci"))
    ax.plot(
        x, y, color=colour, linestyle=dashes, marker=marker, markersize=3, label=name, markevery=max(1, len(x) // 8)
    )
    ax.fill_between(x, y - np.nan_to_num(ci), y + np.nan_to_num(ci), color=colour, alpha=0.2, linewidth=0)


def _scatter(ax: Axes, frame: pd.DataFrame) -> None:
    """S over the effect; layers are numbered as far as the numbers have room."""
    pairs = _pairs(frame, "S")
    x, y = pairs.iloc[:, 0], pairs.iloc[:, 1]
    ax.plot(x, y, color=style.LINES["rome"][0], linestyle="none", marker="o", markersize=3.5)
    span = max(x.max() - x.min(), 1e-6)
    ax.set(
        xlim=(x.min() - 0.1 * span, x.max() + 0.16 * span),
        ylim=(-4, 110),
        xlabel="effect of the window of MLPs\ncentred at the layer",
        ylabel="score S of ROME at the layer",
    )
    placed: list[tuple[float, float]] = []
    for layer, px, py in zip(pairs.index, x, y):
        near = [
            *((qx, qy) for qx, qy in placed if abs(px - qx) < 0.12 * span and abs(py - qy) < 8),
            *((qx, qy) for qx, qy in zip(x, y) if 0 < qx - px < 0.14 * span and -3 < qy - py < 9),
        ]
        if not near:  # neither another number nor a point where this one would stand
            ax.annotate(str(layer), (px, py), (3, 2), textcoords="offset points")
            placed.append((px, py))
    r = frame.loc[frame["quantity"] == "correlation of S", "value"]
    ax.set_title(f"Both, {len(pairs)} layers" + (f": r = {r.iloc[0]:.2f}" if len(r) else ""))
