"""zsRE results of many facts edited into one model, with 95% confidence intervals in parentheses.

Share of the answer's tokens that are the most likely ones, x 100: of the questions that were edited (efficacy), of
their paraphrases, and of unrelated questions with their true answers (specificity); the score is the harmonic mean of
the three. An editor of facts in turn is read at the end. PAPER: MEMIT Table 1.
"""

import pandas as pd

from engram.drawing import method_tables
from engram.job import arguments

HEADS = {"S": "Score", "EA": "Efficacy", "PA": "Paraphrase", "NA": "Specificity"}


def table(summaries: list[pd.DataFrame]) -> pd.DataFrame:
    """The summaries as one long frame in table order. ValueError names what is missing or doubled."""
    return method_tables.table(method_tables.last(summaries), tuple(HEADS))


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
