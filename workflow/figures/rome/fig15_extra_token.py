"""Average indirect effect by layer for each kind of token, with a token after the subject corrupted too.

Lines and 95% confidence bands as in Fig. 7; the kinds of token are those of the uncorrupted prompt. PAPER: ROME Fig.
15.
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
