"""zsRE results of many facts edited into one model, with 95% confidence intervals in parentheses.

Share of the answer's tokens that are the most likely ones, x 100: of the questions that were edited (efficacy), of
their paraphrases, and of unrelated questions with their true answers (specificity); the score is the harmonic mean of
the three. An editor of facts in turn is read at the end. PAPER: MEMIT Table 1.
"""

from functools import partial

from engram.drawing import items, method_tables

HEADS = {"S": "Score", "EA": "Efficacy", "PA": "Paraphrase", "NA": "Specificity"}
DERIVATION = method_tables.derivation(HEADS, at_the_end=True)
draw = partial(method_tables.markdown, heads=HEADS)


def main(argv=None) -> None:
    """Write the csv and the Markdown of the table."""
    items.table(__file__, __doc__, argv, ["summaries*", "published?"], DERIVATION, draw)


if __name__ == "__main__":
    main()
