"""What a model already answers correctly (ROME App. B.1).

DIFFERS: an answer is correct when every token of the object is the model's first choice, given the ones before; the
reference compares the first token alone with the whole object, which is the same for objects of one token.
"""

import numpy as np
import pandas as pd

from engram.model import scoring, tokens


def prompts(lm, table: pd.DataFrame, rows: int = scoring.ROWS) -> pd.DataFrame:
    """The fact prompts with the model's next token, its probability, and whether the model goes on with the true
    object.
    """
    queries = [_query(lm, row.prompt, row.target_true) for row in table.itertuples()]
    scoring.check_lengths(lm, queries, lambda i: f"fact prompt {table['prompt_id'].iloc[i]} with its true object")
    scores = scoring.score(lm, queries, rows=rows, what="prompt")
    answers = scoring.predict(lm, [list(query.prompt_ids) for query in queries], rows=rows)
    return pd.DataFrame(
        {
            "model": lm.name,
            **{name: table[name] for name in ("prompt_id", "relation_id", "prompt", "subject", "target_true")},
            "answer": [tokens.decode_following(lm.tokenizer, [token]) for token, _ in answers],
            "answer_id": [token for token, _ in answers],
            "probability": [probability for _, probability in answers],
            "correct": [score.correct for score in scores],
        }
    )


def records(lm, table: pd.DataFrame, dataset: str, rows: int = scoring.ROWS) -> pd.DataFrame:
    """For every record: is its true answer the model's first choice after the rewrite prompt, and its probability per
    token.
    """
    queries = [_query(lm, row.prompt.replace("{}", row.subject), row.target_true) for row in table.itertuples()]
    scoring.check_lengths(
        lm, queries, lambda i: f"{dataset} record {table['case_id'].iloc[i]}, its prompt with its true object"
    )
    scores = scoring.score(lm, queries, rows=rows, what=dataset)
    return pd.DataFrame(
        {
            "model": lm.name,
            "case_id": table["case_id"],
            "correct": [score.correct for score in scores],
            "probability": [float(np.exp(-score.nll)) for score in scores],
        }
    )


def _query(lm, prompt: str, target: str) -> scoring.Query:
    return scoring.Query(0, tuple(tokens.prompt(lm.tokenizer, prompt)), scoring.target_ids(lm.tokenizer, target))
