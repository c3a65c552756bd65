"""Average indirect effect by layer for each kind of token, with a token after the subject corrupted too.

Lines and 95% confidence bands as in Fig. 7; the kinds of token are those of the uncorrupted prompt. PAPER: ROME Fig.
15.
"""

from engram.drawing import items, trace_tables
from engram.drawing.trace_panels import lines as draw
from engram.evaluation import indirect_effects

DERIVATION = indirect_effects.averages(trace_tables.SITES)


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["effects*", "traced*"], DERIVATION, draw, items.window_and_variants)


if __name__ == "__main__":
    main()
