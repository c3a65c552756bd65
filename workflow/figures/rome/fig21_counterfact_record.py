"""One CounterFact record, whole: the edit that is asked for, and the prompts by which it is judged.

The record is the first, unless `case_ids` names one for the model. In prompts, {} stands for the subject. PAPER: ROME
Fig. 21.
"""

from functools import partial

from engram.drawing import items, single_records

FIELDS = (
    ("subject", "prompt", "target_true", "target_new"),
    ("paraphrase_prompts",),
    ("neighborhood_prompts",),
    ("attribute_prompts",),
    ("generation_prompts",),
)


DERIVATION = single_records.derivation("facts", FIELDS)
draw = partial(single_records.draw, groups=FIELDS)


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["facts"], DERIVATION, draw, texts=True)


if __name__ == "__main__":
    main()
