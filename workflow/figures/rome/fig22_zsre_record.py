"""One zsRE record, whole: the question that is edited, its rephrasing, and an unrelated question.

The record is the first, unless `case_ids` names one for the model. In questions, {} stands for the subject. PAPER: ROME
Fig. 22.
"""

from functools import partial

from engram.drawing import items, single_records

FIELDS = (("subject", "prompt", "target_true", "target_new"), ("rephrase",), ("loc", "loc_target"))


DERIVATION = single_records.derivation("zsre", FIELDS)
draw = partial(single_records.draw, groups=FIELDS)


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["zsre"], DERIVATION, draw, texts=True)


if __name__ == "__main__":
    main()
