"""What the model writes about a subject after one edit by each of several editors.

Cases as in Fig. 6, unless `case_ids` names them for the model; every text ends after two lines, the csv holds it whole.
Italics: the prompt; orange: the new object; blue: the true one. PAPER: ROME Fig. 19; for GPT-J Fig. 20.
"""

from functools import partial

from engram.drawing import items, text_samples

DERIVATION = text_samples.DERIVATION
draw = partial(text_samples.draw, most=2)  # lines of one text, before an ellipsis


def main(argv=None) -> None:
    """Write the two pictures and the csv of the figure."""
    items.figure(__file__, __doc__, argv, ["facts", "texts*"], DERIVATION, draw, texts=True)


if __name__ == "__main__":
    main()
