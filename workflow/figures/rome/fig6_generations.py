"""What the model writes about a subject before and after one edit.

Unless `case_ids` names them for the model, cases are the first record (by case_id) of each relation, relations in the
order of their first record; texts are those of the record's first generation prompt. Italics: the prompt; orange: the
new object; blue: the true one. PAPER: ROME Fig. 6.
"""

from functools import partial

from engram.drawing import items, text_samples

DERIVATION = text_samples.DERIVATION
draw = partial(text_samples.draw, most=8)  # lines of one text, before an ellipsis


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["facts", "texts*"], DERIVATION, draw, texts=True)


if __name__ == "__main__":
    main()
