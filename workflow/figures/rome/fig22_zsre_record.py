"""One zsRE record, whole: the question that is edited, its rephrasing, and an unrelated question.

The record is the first, unless `case_ids` names one for the model. In questions, {} stands for the subject. PAPER: ROME
Fig. 22.
"""

from engram.drawing import single_records
from engram.job import arguments

FIELDS = (("subject", "prompt", "target_true", "target_new"), ("rephrase",), ("loc", "loc_target"))


def draw(frame):
    """A block of text per group of fields."""
    return single_records.draw(frame, FIELDS)


def main(argv=None):
    job = arguments.parse(__file__, __doc__, argv, inputs=["zsre"], outputs=["pdf", "png", "csv"], keys=["model"])
    single_records.item(job, job.inputs.zsre, FIELDS, draw)


if __name__ == "__main__":
    main()
