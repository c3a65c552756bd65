"""Which facts a model knows: what it says after a prompt, and whether that is right (ROME App. B.1).

DIFFERS: a model is correct when every token of the object is its first choice, given the ones before; the reference
compares the first token alone with the whole object, which is the same for objects of one token.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from engram.model import scoring, tokens
from engram.model.loading import LM


def prompts(lm: LM, table: pd.DataFrame, rows: int = scoring.ROWS) -> pd.DataFrame:
    """The fact prompts of `table`, each with the model's next token, its probability, and whether the model is correct.

    It is correct if it goes on with the prompt's `target_true`. `rows` sequences are in a batch.
    """
    names = [f"fact prompt {prompt_id} with its true object" for prompt_id in table["prompt_id"]]
    queries, scores = _scored(lm, table["prompt"], table["target_true"], names, rows, "prompt")
    predicted = scoring.predict(lm, [list(query.prompt_ids) for query in queries], rows=rows)
    return pd.DataFrame(
        {
            "model": lm.name,
            **{name: table[name] for name in ("prompt_id", "relation_id", "prompt", "subject", "target_true")},
            "answer": [tokens.decode_following(lm.tokenizer, [token]) for token, _ in predicted],
            "answer_id": [token for token, _ in predicted],
            "probability": [probability for _, probability in predicted],
            "correct": [score.correct for score in scores],
        }
    )


def records(lm: LM, table: pd.DataFrame, dataset: str, rows: int = scoring.ROWS) -> pd.DataFrame:
    """For every record of `table`: is its true object the model's first choice after the prompt, and its probability.

    The probability is the geometric mean over the object's tokens. `rows` sequences are in a batch.
    """
    texts = [row.prompt.replace("{}", row.subject) for row in table.itertuples()]
    names = [f"{dataset} record {case_id}, its prompt with its true object" for case_id in table["case_id"]]
    _, scores = _scored(lm, texts, table["target_true"], names, rows, dataset)
    return pd.DataFrame(
        {
            "model": lm.name,
            "case_id": table["case_id"],
            "correct": [score.correct for score in scores],
            "probability": [float(np.exp(-score.nll)) for score in scores],
        }
    )


def _scored(
    lm: LM, texts: Iterable[str], targets: Iterable[str], names: Sequence[str], rows: int, what: str
) -> tuple[list[scoring.Query], list[scoring.Score]]:
    """A query and its score for each text and target. ValueError with names[i] if text i is too long."""
    queries = [
        scoring.Query(0, tuple(tokens.prompt(lm.tokenizer, text)), scoring.target_ids(lm.tokenizer, target))
        for text, target in zip(texts, targets)
    ]
    scoring.check_lengths(lm, queries, lambda i: names[i])
    return queries, scoring.score(lm, queries, rows=rows, what=what)
