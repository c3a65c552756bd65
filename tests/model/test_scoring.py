"""Scores of targets: what has no tokens, and what is too long for the model, is refused."""

import pytest

from engram.editing import records
from engram.model import scoring
from evaluated_records import LONG, RECORDS
from toy import lm, loaded


def test_empty_target_is_refused():
    with pytest.raises(ValueError, match="empty target"):
        scoring.target_ids(lm("gpt2").tokenizer, "  ")


def test_a_context_in_front_counts_and_the_last_token_does_not():
    model, row = loaded("gpt2"), RECORDS.head(1)
    with pytest.raises(ValueError, match="counterfact record 10, its prompt behind the context 'the piano"):
        records.check_lengths(model, row, "counterfact", ("{}", f"{LONG}. {{}}"))
    fits, longer = (scoring.Query(0, (5,) * 64, target) for target in ((1,), (1, 2)))
    scoring.check_lengths(model, [fits], str)
    assert len(scoring.score(model, [fits])) == 1
    with pytest.raises(ValueError, match=r"^0: 66 tokens.*; 1 more texts are too long for it: right is"):
        scoring.check_lengths(model, [longer, longer], str)
    with pytest.raises(IndexError):
        scoring.score(model, [longer])
