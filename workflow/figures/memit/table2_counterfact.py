"""CounterFact results of many facts edited into one model, with 95% confidence intervals in parentheses.

S: harmonic mean of ES (efficacy), PS (paraphrases) and NS (neighbourhood); GE: fluency (n-gram entropy); RS:
consistency with reference texts. All x 100. An editor of facts in turn is read at the end. PAPER: MEMIT Table 2.
"""

# DIFFERS: the original edits MultiCounterFact, CounterFact without records that contradict each other.

from functools import partial

from engram.drawing import items, method_tables

METRICS = ("S", "ES", "PS", "NS", "GE", "RS")
DERIVATION = method_tables.derivation(METRICS, at_the_end=True)
draw = partial(method_tables.markdown, heads=dict(zip(METRICS, METRICS)))


def main(argv=None) -> None:
    """Write the csv and the Markdown of the table."""
    items.table(__file__, __doc__, argv, ["summaries*", "published?"], DERIVATION, draw)


if __name__ == "__main__":
    main()
