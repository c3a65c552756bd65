"""Single prompts: effect of the last subject token's hidden state by layer, and with attention or the MLPs severed.

Bars as in Fig. 3, of one prompt each: the probability of the answer minus that of the corrupted run; one scale for all.
Unless `prompts` names them for the model, the prompts are chosen by the rule of Fig. 10. PAPER: ROME Fig. 14.
"""

import pandas as pd

from engram.drawing import prose, style, trace_panels, trace_tables
from engram.job import arguments
from engram.settings import config
from engram.tracing import selection


def table(effects: pd.DataFrame, traced: pd.DataFrame, settings, model: str, variants: dict) -> pd.DataFrame:
    """Every bar: traces.CELLS at the last subject token, and indirect_effect = score - corrupted."""
    ends = traced.set_index("prompt_id")["subject_end"]
    at_last = effects[effects["token"] == effects["prompt_id"].map(ends) - 1]
    frame = trace_tables.gallery(at_last, traced, settings, model, variants, trace_tables.SEVERED)
    return frame.assign(indirect_effect=frame["score"] - frame["corrupted"])


def draw(frame: pd.DataFrame):
    """Two columns of panels, one per prompt of `table`'s frame."""
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


def main(argv=None):
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["effects*", "traced*"], outputs=["pdf", "png", "csv"], keys=["model"]
    )
    settings = config.build(selection.Settings, job.config["paper"], "paper: rome/fig14_severed_cases")
    effects, traced = trace_tables.read(job.inputs, trace_tables.SEVERED, most=1)
    frame = table(effects, traced, settings, job.keys.model, job.config["variants"])
    style.save(job, draw(frame), frame)


if __name__ == "__main__":
    main()
