"""One prompt traced: the probability of its answer after restoring one hidden state, MLP window or attention window.

Unless `prompt_id` is set, the prompt is the one with the median total effect (clean minus corrupted probability) among
those whose subject has several tokens and is followed by several tokens: a typical prompt, not the best one.

`*` marks subject tokens; the colour scales start at the corrupted probability. PAPER: ROME Fig. 1 e-g.
"""

from dataclasses import dataclass

import pandas as pd

from engram import cli, config, io, style


@dataclass(frozen=True)
class Settings:
    """`paper: rome/fig1_trace_example` of params.yaml."""

    prompt_id: int | None = None


def choose(traced: pd.DataFrame, prompt_id: int | None = None) -> pd.Series:
    """The row of `traced` to draw. ValueError if `prompt_id` was not traced."""
    if prompt_id is not None:
        if not (traced["prompt_id"] == prompt_id).any():
            raise ValueError(f"rome/fig1_trace_example: prompt_id {prompt_id} was not traced; null chooses by rule")
        return traced[traced["prompt_id"] == prompt_id].iloc[0]
    subject = traced["subject_end"] - traced["subject_begin"]
    after = traced["tokens"].map(len) - traced["subject_end"]
    several = traced[(subject > 1) & (after > 1)]
    pool = several if len(several) else traced  # a world without such prompts is drawn all the same
    ranked = pool.assign(effect=pool["clean"] - pool["corrupted"]).sort_values(["effect", "prompt_id"])
    return ranked.iloc[(len(ranked) - 1) // 2]


def table(effects: pd.DataFrame, row: pd.Series, model: str) -> pd.DataFrame:
    """Every cell of the three heatmaps, with the token it belongs to. ValueError if a cell is missing or doubled."""
    cells = effects[effects["prompt_id"] == row["prompt_id"]].copy()
    layers = cells["layer"].nunique()
    for site in style.SITES:
        here = cells[cells["site"] == site]
        if len(here) != len(row["tokens"]) * layers or here.duplicated(["token", "layer"]).any():
            raise ValueError(f"effects, prompt_id {row['prompt_id']}, site {site}: {len(here)} rows, expected one per "
                             f"token and layer ({len(row['tokens'])} x {layers})")
    cells["text"] = [row["tokens"][token] for token in cells["token"]]
    cells["in_subject"] = cells["token"].between(row["subject_begin"], row["subject_end"] - 1)
    for column in ("prompt", "answer", "clean", "corrupted"):
        cells[column] = row[column]
    cells["model"] = model
    order = pd.Categorical(cells["site"], list(style.SITES))
    cells = cells.assign(order=order.codes).sort_values(["order", "token", "layer"])
    return cells[["model", "prompt_id", "prompt", "answer", "clean", "corrupted", "site", "token", "text", "in_subject",
                  "layer", "score"]].reset_index(drop=True)


def draw(cells: pd.DataFrame, window: int):
    """Three heatmaps (tokens x layers) of one prompt from `table`'s frame."""
    first = cells.iloc[0]
    tokens = cells.drop_duplicates("token").sort_values("token")
    labels = [style.token_label(text) + "*" * subject for text, subject in zip(tokens["text"], tokens["in_subject"])]
    title = style.wrap(f"“{style.shorten(first['prompt'], 150)}” → {style.shorten(first['answer'], 30)}:  clean p = "
                       f"{first['clean']:.2f}, subject corrupted p = {first['corrupted']:.2f}", 108)
    fig = style.figure(style.DOUBLE, 1.15 + 0.135 * len(labels) + 0.13 * title.count("\n"))
    axes = fig.subplots(1, 3, sharey=True)
    for ax, (site, look) in zip(axes, style.SITES.items()):
        values = cells[cells["site"] == site].pivot(index="token", columns="layer", values="score")
        style.heatmap(ax, values, site, first["corrupted"], values.to_numpy().max(),
                      f"p({style.shorten(first['answer'], 14)})")
        ax.set_title(look.title)
        ax.set_xlabel(style.layer_label(site, window, first["model"]))
    axes[0].set_yticks([index + 0.5 for index in range(len(labels))], labels)
    for ax in axes:
        ax.tick_params(axis="y", length=0)
    fig.suptitle(title)
    return style.finish(fig)


def main(argv=None):
    job = cli.parse(__file__, __doc__, argv, inputs=["effects", "traced"], outputs=["pdf", "png", "csv"],
                    keys=["model"])
    settings = config.build(Settings, job.config["paper"], "paper: rome/fig1_trace_example")
    row = choose(io.read_table(job.inputs.traced), settings.prompt_id)
    cells = table(io.read_table(job.inputs.effects), row, job.keys.model)
    fig = draw(cells, job.config["model"]["trace_window"])
    job.write("pdf", fig)
    job.write("png", fig)
    job.write("csv", cells)


if __name__ == "__main__":
    main()
