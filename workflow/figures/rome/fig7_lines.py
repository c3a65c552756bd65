"""Average indirect effect by layer for each kind of token, with 95% confidence intervals.

Bands are 1.96 standard deviations of the pooled scores over the square root of their real number. PAPER: ROME Fig. 7.
"""

import pandas as pd

from engram import cli, io, style
from engram.effects import average_effects


def table(effects: pd.DataFrame, traced: pd.DataFrame, model: str) -> pd.DataFrame:
    """(model, site, category, layer, mean_score, indirect_effect, std, count, ci): every point of the lines."""
    frame = pd.concat([average_effects(effects, traced, site).assign(site=site) for site in style.SITES])
    columns = ["model", "site", "category", "layer", "mean_score", "indirect_effect", "std", "count", "ci"]
    return frame.assign(model=model)[columns].reset_index(drop=True)


def draw(frame: pd.DataFrame, window: int, prompts: int):
    """Three panels of lines over layers from `table`'s frame; `prompts` is N for the title."""
    model, layers = frame["model"].iloc[0], int(frame["layer"].max()) + 1
    fig = style.figure(style.DOUBLE, 2.75)
    axes = fig.subplots(1, 3, sharey=True)
    for ax, (site, look) in zip(axes, style.SITES.items()):
        for category, (colour, dashes) in style.CATEGORIES.items():
            line = frame[(frame["site"] == site) & (frame["category"] == category)].sort_values("layer")
            if len(line):
                x, y, ci = (line[name].to_numpy(float) for name in ("layer", "indirect_effect", "ci"))
                ax.plot(x, y, color=colour, linestyle=dashes, label=category)
                ax.fill_between(x, y - ci, y + ci, color=colour, alpha=0.2, linewidth=0)
        ax.set_title(look.title)
        ax.set_xlabel(style.layer_label(site, window, model))
        ax.set_xlim(-0.2, layers - 0.8)
        style.layer_ticks(ax, layers)
        ax.grid(True, color="0.9", linewidth=0.5)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("average indirect effect\non p(answer)")
    handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels())}
    order = [category for category in style.CATEGORIES if category in handles]
    fig.legend([handles[name] for name in order], order, loc="outside lower center", ncols=3, frameon=False)
    fig.suptitle(f"Average indirect effect over N = {prompts:,} prompts, with 95% confidence intervals")
    return style.finish(fig)


def main(argv=None):
    job = cli.parse(__file__, __doc__, argv, inputs=["effects", "traced"], outputs=["pdf", "png", "csv"],
                    keys=["model"])
    traced = io.read_table(job.inputs.traced)
    frame = table(io.read_table(job.inputs.effects), traced, job.keys.model)
    fig = draw(frame, job.config["model"]["trace_window"], len(traced))
    job.write("pdf", fig)
    job.write("png", fig)
    job.write("csv", frame)


if __name__ == "__main__":
    main()
