"""zsRE results of each editing method, with 95% confidence intervals in parentheses.

Share of the answer's tokens that are the most likely ones, x 100: of the question that was edited (efficacy), of its
paraphrase, and of an unrelated question with its true answer (specificity). PAPER: ROME Table 1; for GPT-2 M and L
Table 6.
"""

from functools import partial

from engram.drawing import items, method_tables

HEADS = {"EA": "Efficacy", "PA": "Paraphrase", "NA": "Specificity"}
DERIVATION = method_tables.derivation(HEADS)
draw = partial(method_tables.markdown, heads=HEADS)


def main(argv=None) -> None:
    """Write the csv and the Markdown of the table."""
    items.table(__file__, __doc__, argv, ["summaries*", "published?"], DERIVATION, draw)


if __name__ == "__main__":
    main()
