"""One CounterFact record, whole: the edit that is asked for, and the prompts by which it is judged.

The record is the first, unless `case_ids` names one for the model. In prompts, {} stands for the subject. PAPER: ROME
Fig. 21.
"""

from engram.drawing import single_records
from engram.job import arguments

FIELDS = (
    ("subject", "prompt", "target_true", "target_new"),
    ("paraphrase_prompts",),
    ("neighborhood_prompts",),
    ("attribute_prompts",),
    ("generation_prompts",),
)


def draw(frame):
    """A block of text per group of fields."""
    return single_records.draw(frame, FIELDS)


def main(argv=None):
    job = arguments.parse(__file__, __doc__, argv, inputs=["facts"], outputs=["pdf", "png", "csv"], keys=["model"])
    single_records.item(job, job.inputs.facts, FIELDS, draw)


if __name__ == "__main__":
    main()
