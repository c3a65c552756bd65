"""One prompt traced: the probability of its answer after restoring one hidden state, MLP window or attention window.

Unless `prompts` names one for the model, the prompt is the one with the median total effect (clean minus corrupted
probability) among those whose subject has several tokens and is followed by several tokens: a typical prompt, not the
best one. `*` marks subject tokens; the colour scales start at the corrupted probability. PAPER: ROME Fig. 1 e-g.
"""

from engram.drawing import items, trace_tables
from engram.drawing.trace_panels import heatmaps as draw

DERIVATION = trace_tables.gallery()


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["effects*", "traced*"], DERIVATION, draw, items.window)


if __name__ == "__main__":
    main()
