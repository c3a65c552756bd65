"""Average indirect effect by layer for each kind of token, with 95% confidence intervals.

Bands are 1.96 standard deviations of the pooled scores over the square root of their real number. As in the paper, a
token counts in every kind that it is (the one after the subject is the last token of many prompts, hence its late
rise), and effects are differences from the corrupted probability averaged over all prompts. PAPER: ROME Fig. 7; for the
other models Fig. 9.
"""

from engram.drawing.trace_panels import lines as draw
from engram.drawing.trace_panels import lines_item
from engram.job import arguments


def main(argv=None):
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["effects*", "traced*"], outputs=["pdf", "png", "csv"], keys=["model"]
    )
    lines_item(job, draw)


if __name__ == "__main__":
    main()
