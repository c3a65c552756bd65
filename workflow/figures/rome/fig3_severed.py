"""Average indirect effect of the last subject token's hidden state, by layer: as it is, and with attention or MLPs
severed.

Severed: at that token, the outputs of all attention modules (or MLPs) are held at their corrupted values. Every bar is
the mean probability of the answer minus that of the corrupted run; lines are 95% confidence intervals. PAPER: ROME Fig.
3; for GPT-J MEMIT Fig. 3.
"""

# DIFFERS: the original averages over the first 1,000 prompts, answered correctly or not, and draws other noise for the
# severed run than for the values that it holds. Here: prompts answered correctly, the same noise.

import pandas as pd
from matplotlib.figure import Figure

from engram.drawing import items, style, trace_panels, trace_tables
from engram.evaluation import indirect_effects

DERIVATION = indirect_effects.averages(trace_tables.SEVERED, ("Last subject token",), most=1)


def draw(frame: pd.DataFrame) -> Figure:
    """Three bars per layer from the numbers."""
    fig = style.figure(style.DOUBLE, 2.4)
    ax = fig.subplots()
    handles = trace_panels.severed_bars(ax, frame)
    ax.set_ylabel("average indirect\neffect on p(answer)")
    ax.set_xlabel(f"layer within {style.shorten(frame['model'].iloc[0], 30)} at which the hidden state is restored")
    ax.set_title(
        f"States of the last subject token, attention or MLPs severed: N = {frame['prompts'].iloc[0]:,} prompts"
    )
    fig.legend(handles.values(), handles, loc="outside lower center", ncols=3, frameon=False)
    return style.finish(fig)


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["effects*", "traced*"], DERIVATION, draw)


if __name__ == "__main__":
    main()
