"""What the model writes about a subject after one edit of an attention module (AttnEdit), beside ROME and the unedited
model.

Cases as in Fig. 6, unless `case_ids` names them for the model; every text ends after four lines, the csv holds it
whole. Italics: the prompt; orange: the new object; blue: the true one. PAPER: ROME Fig. 25.
"""

from engram.drawing import text_samples
from engram.job import arguments

MOST = 4  # lines of one text, before an ellipsis


def draw(frame):
    """A block of texts per case."""
    return text_samples.draw(frame, MOST)


def main(argv=None):
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["facts", "texts*"], outputs=["pdf", "png", "csv"], keys=["model"]
    )
    text_samples.item(job, draw)


if __name__ == "__main__":
    main()
