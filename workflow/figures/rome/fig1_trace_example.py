"""One prompt traced: the probability of its answer after restoring one hidden state, MLP window or attention window.

Unless `prompts` names one for the model, the prompt is the one with the median total effect (clean minus corrupted
probability) among those whose subject has several tokens and is followed by several tokens: a typical prompt, not the best
one. `*` marks subject tokens; the colour scales start at the corrupted probability. PAPER: ROME Fig. 1 e-g.
"""

from engram import cli
from engram.panels import heatmaps as draw
from engram.panels import heatmaps_item


def main(argv=None):
    job = cli.parse(__file__, __doc__, argv, inputs=["effects*", "traced*"], outputs=["pdf", "png", "csv"], keys=["model"])
    heatmaps_item(job, draw)


if __name__ == "__main__":
    main()
