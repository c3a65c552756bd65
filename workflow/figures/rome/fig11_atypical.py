"""Prompts without the typical early site: a hidden state elsewhere matters more than any of the last subject token.

The prompt's last token is left aside, where restoring the final state restores everything. Shown are the prompts in
which the best state of another token exceeds the best state of the last subject token by most; the title counts such
prompts. `*` marks subject tokens; the ends of every scale are printed. PAPER: ROME Fig. 11.
"""

import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import items, style, trace_panels, trace_tables
from engram.evaluation.derivation import Derivation, Job, Rows, Tables
from engram.settings.blocks import build
from engram.settings.items import AtypicalPrompts

ATYPICAL = Rows("effects", by=("variant",)).only(site="hidden", place=("elsewhere", "subject"))
COLUMNS = {
    **trace_tables.CELLS,
    "margin": trace_tables.MARGIN,
    "atypical": ATYPICAL.each(
        lambda part: int((trace_tables.margins(part) > 0).sum()),
        "number of prompts with a larger score elsewhere than at the subject",
        "prompt_id",
        "place",
        "score",
    ),
    "prompts": Rows("traced", by=("variant",)).count(),
}


def prepare(tables: Tables, job: Job) -> dict[str, pd.DataFrame]:
    """The tokens of the prompts, and the effects with the place of their token."""
    trace_tables.check(tables, trace_tables.SITES, most=1)
    effects = trace_tables.with_places(tables["effects"], tables["traced"])
    return {"effects": effects, **trace_tables.with_tokens(tables, job)}


def rows(tables: Tables, job: Job) -> pd.DataFrame:
    """The cells of the most atypical prompts, the largest margin first; a row without a prompt if there is none."""
    settings = build(AtypicalPrompts, job.config["paper"], "paper: rome/fig11_atypical")
    margins = trace_tables.margins(ATYPICAL.of(tables))
    variant = tables["traced"]["variant"].iloc[0]
    shown = [(variant, int(prompt)) for prompt in margins.index[margins > 0][: settings.count]]
    if not shown:
        return pd.DataFrame([{"variant": variant}], columns=["model", *trace_tables.CELL.by])
    return trace_tables.cells(tables["effects"], shown)


DERIVATION = Derivation(COLUMNS, rows, prepare)


def draw(frame: pd.DataFrame, window: int) -> Figure:
    """Rows of three heatmaps from the numbers; a sentence alone if no prompt is atypical."""
    atypical, prompts = frame[["atypical", "prompts"]].iloc[0]
    title = f"{atypical:,} of {prompts:,} prompts: another token matters more than the last of the subject"
    if atypical:
        return trace_panels.heatmaps(frame, window, title)
    fig = style.figure(style.DOUBLE, 0.5)
    fig.text(0.5, 0.4, title, ha="center")
    return style.finish(fig)


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["effects*", "traced*"], DERIVATION, draw, items.window)


if __name__ == "__main__":
    main()
