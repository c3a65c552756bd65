"""Average indirect effect by layer for each kind of token, the subject corrupted by other kinds of noise.

Lines and 95% confidence bands as in Fig. 7, one row for each kind of noise, on one scale. PAPER: ROME Fig. 13.
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
