"""Does tracing say where to edit? What restoring states of the last subject token gives back, and how well ROME edits,
by layer.

Left: average indirect effects (as in ROME Fig. 7) at the last subject token. Middle: scores of ROME at each layer (as
in ROME Fig. 5, key at that token). Right: one against the other; a number is a layer, r the correlation over the
layers. Bands: 95% confidence intervals. PAPER: beyond the papers.
"""

import numpy as np
import pandas as pd

from engram.drawing import curves, style, trace_tables
from engram.evaluation import indirect_effects
from engram.job import arguments

ITEM = "beyond/tracing_and_editing"
METRICS = {"S": ("-", "o"), "ES": ("--", "s"), "PS": (":", "^"), "NS": ("-.", "D")}
EFFECTS = {
    "mlp": ("MLPs", "#2a922a", "-", "o"),
    "hidden": ("hidden", "#7261ab", "--", "s"),
    "attn": ("attention", "#d62728", ":", "^"),
}
AGAINST = "mlp"  # PAPER: ROME edits an MLP because windows of MLPs matter there


def table(scores: pd.DataFrame, traced: pd.DataFrame, paths, points: dict) -> pd.DataFrame:
    """model, quantity, layer, value, ci, count. quantity: `effect of <site>`; a metric of ROME at the layer (x 100);
    `correlation of <metric>` with the effect of AGAINST, over the edited layers. ValueError for a sweep over other
    tokens.
    """
    other = sorted({str(point.get("token")) for point in points.values()} - {"subject_last"})
    if other:
        raise ValueError(
            f"{ITEM}: a sweep over token {', '.join(other)}; right is `token: [subject_last]`, where states are "
            "restored"
        )
    model = traced["model"].iloc[0]
    averages = indirect_effects.by_layer(scores, traced, trace_tables.SITES, model)
    averages = averages[averages["category"] == "Last subject token"].rename(columns={"indirect_effect": "value"})
    averages = averages.assign(quantity="effect of " + averages["site"])
    edits = curves.with_points(curves.read(paths, list(METRICS), ["method"], ITEM), points, ["layer", "token"], ITEM)
    edits = edits[edits["layer"].notna()].rename(columns={"metric": "quantity"}).sort_values("layer", kind="stable")
    frame = pd.concat([averages, edits], ignore_index=True).assign(model=model).astype({"layer": "Int64"})
    frame = pd.concat([frame, pd.DataFrame(_correlations(frame, model))], ignore_index=True)
    return frame[["model", "quantity", "layer", "value", "ci", "count"]]


def _correlations(frame: pd.DataFrame, model: str):
    """Pearson's r of each metric; none where fewer than three layers, or a constant, leave it without meaning."""
    for metric in METRICS:
        pairs = _pairs(frame, metric)
        if len(pairs) > 2 and (pairs.max() > pairs.min()).all():
            yield {
                "model": model,
                "quantity": f"correlation of {metric}",
                "value": pairs.corr().iloc[0, 1],
                "count": len(pairs),
            }


def _pairs(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Effect of AGAINST and the metric, by layer, for the edited layers."""
    found = {
        name: frame[frame["quantity"] == name].set_index("layer")["value"].astype(float)
        for name in (f"effect of {AGAINST}", metric)
    }
    return pd.DataFrame(found).dropna()


def draw(frame: pd.DataFrame, window: int):
    """Three panels from `table`'s frame."""
    model, layers = style.shorten(frame["model"].iloc[0], 30), int(frame["layer"].max()) + 1
    fig = style.figure(style.DOUBLE, 2.7)
    left, middle, right = fig.subplots(1, 3)
    for site, (name, *look) in EFFECTS.items():
        _line(left, frame[frame["quantity"] == f"effect of {site}"], name, *look)
    for metric, look in METRICS.items():
        _line(middle, frame[frame["quantity"] == metric], metric, style.LINES["rome"][0], *look)
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


def _line(ax, rows: pd.DataFrame, name: str, colour: str, dashes, marker: str) -> None:
    x, y, ci = (rows[key].to_numpy(dtype=float) for key in ("layer", "value", "ci"))
    ax.plot(
        x, y, color=colour, linestyle=dashes, marker=marker, markersize=3, label=name, markevery=max(1, len(x) // 8)
    )
    ax.fill_between(x, y - np.nan_to_num(ci), y + np.nan_to_num(ci), color=colour, alpha=0.2, linewidth=0)


def _scatter(ax, frame: pd.DataFrame) -> None:
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
    placed = []
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


def main(argv=None):
    job = arguments.parse(
        __file__,
        __doc__,
        argv,
        inputs=["effects*", "traced*", "summaries*"],
        outputs=["pdf", "png", "csv"],
        keys=["model"],
    )
    tables = trace_tables.read(job.inputs, trace_tables.SITES, most=1)
    frame = table(*tables, job.inputs.summaries, job.config.get("points", {}))
    style.save(job, draw(frame, job.config["model"]["trace_window"]), frame)


if __name__ == "__main__":
    main()
