"""CounterFact results of each editing method, with 95% confidence intervals in parentheses.

S: harmonic mean of ES, PS, NS. ES, EM: efficacy score and magnitude; PS, PM: paraphrases; NS, NM: neighbourhood; GE:
fluency (n-gram entropy); RS: consistency with reference texts. All x 100. PAPER: ROME Table 4; for GPT-2 M and L Table
5.
"""

import pandas as pd

from engram.drawing import method_tables
from engram.job import arguments

METRICS = ("S", "ES", "EM", "PS", "PM", "NS", "NM", "GE", "RS")


def table(summaries: list[pd.DataFrame]) -> pd.DataFrame:
    """The summaries as one long frame in table order. ValueError names what is missing or doubled."""
    return method_tables.table(summaries, METRICS)


def draw(frame: pd.DataFrame, model: str) -> str:
    """`table`'s frame as a Markdown table."""
    return method_tables.markdown(frame, model, {name: name for name in METRICS})


def main(argv=None):
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["summaries*", "published?"], outputs=["csv", "md"], keys=["model"]
    )
    method_tables.write(job, table, draw)


if __name__ == "__main__":
    main()
