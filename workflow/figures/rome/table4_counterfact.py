"""CounterFact results of each editing method, with 95% confidence intervals in parentheses.

S: harmonic mean of ES, PS, NS. ES, EM: efficacy score and magnitude; PS, PM: paraphrases; NS, NM: neighbourhood; GE:
fluency (n-gram entropy); RS: consistency with reference texts. All x 100. PAPER: ROME Table 4; for GPT-2 M and L Table
5.
"""

from functools import partial

from engram.drawing import items, method_tables

METRICS = ("S", "ES", "EM", "PS", "PM", "NS", "NM", "GE", "RS")
DERIVATION = method_tables.derivation(METRICS)
draw = partial(method_tables.markdown, heads=dict(zip(METRICS, METRICS)))


def main(argv=None) -> None:
    """Write the csv and the Markdown of the table."""
    items.table(__file__, __doc__, argv, ["summaries*", "published?"], DERIVATION, draw)


if __name__ == "__main__":
    main()
