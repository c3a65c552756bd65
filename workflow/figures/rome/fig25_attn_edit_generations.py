"""What the model writes about a subject after one edit of an attention module (AttnEdit), beside ROME and the unedited
model.

Cases as in Fig. 6, unless `case_ids` names them for the model; every text ends after four lines, the csv holds it
whole. Italics: the prompt; orange: the new object; blue: the true one. PAPER: ROME Fig. 25.
"""

from functools import partial

from engram.drawing import items, text_samples

DERIVATION = text_samples.DERIVATION
draw = partial(text_samples.draw, most=4)  # lines of one text, before an ellipsis


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["facts", "texts*"], DERIVATION, draw, texts=True)


if __name__ == "__main__":
    main()
