"""What the model writes about a subject before and after one edit.

Unless `case_ids` names them for the model, cases are the first record (by case_id) of each relation, relations in the
order of their first record; texts are those of the record's first generation prompt. Italics: the prompt; orange: the
new object; blue: the true one. PAPER: ROME Fig. 6.
"""

from engram.drawing import text_samples
from engram.job import arguments

MOST = 8  # lines of one text, before an ellipsis


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
