"""zsRE results of each editing method, with 95% confidence intervals in parentheses.

Share of the answer's tokens that are the most likely ones, x 100: of the question that was edited (efficacy), of its
paraphrase, and of an unrelated question with its true answer (specificity). PAPER: ROME Table 1; for GPT-2 M and L
Table 6.
"""

import pandas as pd

from engram.drawing import method_tables
from engram.job import arguments

HEADS = {"EA": "Efficacy", "PA": "Paraphrase", "NA": "Specificity"}


def table(summaries: list[pd.DataFrame]) -> pd.DataFrame:
    """The summaries as one long frame in table order. ValueError names what is missing or doubled."""
    return method_tables.table(summaries, tuple(HEADS))


def draw(frame: pd.DataFrame, model: str) -> str:
    """`table`'s frame as a Markdown table."""
    return method_tables.markdown(frame, model, HEADS)


def main(argv=None):
    job = arguments.parse(
        __file__, __doc__, argv, inputs=["summaries*", "published?"], outputs=["csv", "md"], keys=["model"]
    )
    method_tables.write(job, table, draw)


if __name__ == "__main__":
    main()
