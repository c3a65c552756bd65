"""Example prompts traced: the probability of the answer after restoring one hidden state, MLP window or attention
window.

Unless `prompts` names them for the model, the prompts are chosen by rule: those whose subject has several tokens and is
followed by several tokens are ranked by total effect (clean minus corrupted probability) and cut into equal parts; the
middle prompt of each part is shown, the largest effect first. `*` marks subject tokens. Every panel has its own scale,
as in the paper: from the corrupted probability to its largest, both printed. PAPER: ROME Fig. 10.
"""

from engram.drawing import items, trace_tables
from engram.drawing.trace_panels import heatmaps as draw

DERIVATION = trace_tables.gallery()


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["effects*", "traced*"], DERIVATION, draw, items.window)


if __name__ == "__main__":
    main()
