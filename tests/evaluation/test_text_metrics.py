"""Metrics of texts against numbers worked out by hand."""

import math

import pandas as pd
import pytest

from engram.evaluation import text_metrics


def test_entropy_by_hand():
    assert text_metrics.words("It rained. He said: don't go!") == [
        "It",
        "rained",
        ".",
        "He",
        "said",
        ":",
        "do",
        "n't",
        "go",
        "!",
    ]
    assert text_metrics.ngram_entropy("a b a b a", 2) == pytest.approx(1.0)  # (a b) x2, (b a) x2
    assert text_metrics.ngram_entropy("a", 2) == 0.0
    h3 = -(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3))  # (a b a) x2, (b a b) x1
    assert text_metrics.generation_entropy(["a b a b a"]) == pytest.approx((2 / 3 * 1.0 + 4 / 3 * h3) / 2)


def test_similarity_is_the_cosine_of_tfidf_vectors():
    snippets = pd.DataFrame(
        {
            "relation_id": "P1",
            "target_id": ["a", "a", "b"],
            "name": "x",
            "text": ["red apple", "green apple", "blue sea"],
        }
    )
    references = text_metrics.References(snippets)
    assert references.similarity(["red apple green apple"], "P1", "a") == pytest.approx(1.0)
    assert references.similarity(["blue"], "P1", "a") == 0.0
    assert references.similarity(["blue"], "P1", "b") == pytest.approx(math.sqrt(0.5))
    with pytest.raises(ValueError, match="no attribute snippet for relation P1, object c"):
        references.similarity(["blue"], "P1", "c")
