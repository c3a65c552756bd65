"""Average indirect effect by layer for each kind of token, with 95% confidence intervals.

Bands are 1.96 standard deviations of the pooled scores over the square root of their real number. As in the paper, a
token counts in every kind that it is (the one after the subject is the last token of many prompts, hence its late
rise), and effects are differences from the corrupted probability averaged over all prompts. PAPER: ROME Fig. 7; for the
other models Fig. 9.
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
