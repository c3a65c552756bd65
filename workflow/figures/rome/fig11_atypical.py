"""Prompts without the typical early site: a hidden state elsewhere matters more than any of the last subject token.

The prompt's last token is left aside, where restoring the final state restores everything. Shown are the prompts in
which the best state of another token exceeds the best state of the last subject token by most; the title counts such
prompts. `*` marks subject tokens; the ends of every scale are printed. PAPER: ROME Fig. 11.
"""

from dataclasses import dataclass

import pandas as pd

from engram.drawing import style, trace_panels, trace_tables
from engram.job import arguments
from engram.settings import config


@dataclass(frozen=True)
class Settings:
    """`options` of `paper: rome/fig11_atypical` in params.yaml."""

    count: int = 4


def table(effects: pd.DataFrame, traced: pd.DataFrame, count: int, extra: int = 0) -> pd.DataFrame:
    """The cells (traces.CELLS) of at most `count` atypical prompts with their `margin`, the largest first.

    In every row `atypical` of `prompts`: how many there are; a row without cells if there is none.
    """
    rivals = trace_tables.rivals(effects, traced)
    atypical = rivals[rivals["margin"] > 0]
    parts = [
        trace_tables.cells(effects, traced, row.prompt_id, extra).assign(margin=row.margin)
        for row in atypical.head(count).itertuples()
    ]
    frame = (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(index=[0], columns=[*trace_tables.CELLS, "margin"])
    )
    return frame.assign(atypical=len(atypical), prompts=len(traced))


def draw(frame: pd.DataFrame, window: int):
    """Rows of three heatmaps from `table`'s frame; a sentence alone if no prompt is atypical."""
    atypical, prompts = frame[["atypical", "prompts"]].iloc[0]
    title = f"{atypical:,} of {prompts:,} prompts: another token matters more than the last of the subject"
    if atypical:
        return trace_panels.heatmaps(frame, window, title)
    fig = style.figure(style.DOUBLE, 0.5)
    fig.text(0.5, 0.4, title, ha="center")
    return style.finish(fig)


def main(argv=None):
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["effects*", "traced*"], outputs=["pdf", "png", "csv"], keys=["model"]
    )
    settings = config.build(Settings, job.config["paper"], "paper: rome/fig11_atypical")
    effects, traced = trace_tables.read(job.inputs, trace_tables.SITES, most=1)
    extra = job.config["variants"][traced["variant"].iloc[0]]["extra_tokens"]
    frame = table(effects, traced, settings.count, extra)
    style.save(job, draw(frame, job.config["model"]["trace_window"]), frame)


if __name__ == "__main__":
    main()
