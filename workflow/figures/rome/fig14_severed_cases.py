"""Single prompts: effect of the last subject token's hidden state by layer, and with attention or the MLPs severed.

Bars as in Fig. 3, of one prompt each: the probability of the answer minus that of the corrupted run; one scale for all.
Unless `prompts` names them for the model, the prompts are chosen by the rule of Fig. 10. PAPER: ROME Fig. 14.
"""

import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import items, prose, style, trace_panels, trace_tables
from engram.drawing.trace_tables import CELL, CELLS, PROMPT
from engram.evaluation.derivation import Derivation, Job, Tables
from engram.tracing import selection

COLUMNS = {**CELLS, "indirect_effect": CELL.cell("score") - PROMPT.cell("corrupted")}


def rows(tables: Tables, job: Job) -> pd.DataFrame:
    """The cells of each chosen prompt at the last token of its subject."""
    trace_tables.check(tables, trace_tables.SEVERED, most=1)
    effects, traced = tables["effects"], tables["traced"]
    prompts = selection.chosen(traced, trace_tables.options(job), job.keys.model)
    at_last = effects[effects["token"] == effects["prompt_id"].map(traced.set_index("prompt_id")["subject_end"]) - 1]
    shown = [(traced["variant"].iloc[0], prompt) for prompt in prompts]
    return trace_tables.cells(at_last, shown, trace_tables.SEVERED)


DERIVATION = Derivation(COLUMNS, rows, trace_tables.with_tokens)


def draw(frame: pd.DataFrame) -> Figure:
    """Two columns of panels, one per prompt of the numbers."""
    blocks = [block for _, block in frame.groupby("prompt_id", sort=False)]
    rows = (len(blocks) + 1) // 2
    fig = style.figure(style.DOUBLE, 0.55 + 1.2 * rows)
    axes = fig.subplots(rows, 2, squeeze=False, sharey=True).flatten()
    for ax, block in zip(axes, blocks):
        first = block.iloc[0]
        handles = trace_panels.severed_bars(ax, block)
        answer = style.shorten(first["answer"], 30)
        ax.set_title(prose.fit(f"“{style.shorten(first['prompt'], 80)}” → {answer}", 72 * 2.9), fontsize=style.SIZE)
    for ax in axes[len(blocks) :]:
        ax.set_axis_off()
    fig.supylabel("indirect effect on p(answer)", fontsize=style.SIZE)
    fig.supxlabel(
        f"layer within {style.shorten(first['model'], 30)} at which the hidden state is restored", fontsize=style.SIZE
    )
    fig.legend(handles.values(), handles, loc="outside upper center", ncols=3, frameon=False)
    return style.finish(fig)


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["effects*", "traced*"], DERIVATION, draw)


if __name__ == "__main__":
    main()
