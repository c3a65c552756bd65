"""Metrics of generated texts: GE, entropy of n-grams, and RS, TF-IDF similarity to reference texts (ROME App. C).

Metrics of log-probabilities are engram.evaluation.metrics.

The texts are written by engram.editing.outcomes, which asks engram.model.generation.
"""

import re
from collections import Counter
from functools import lru_cache

import numpy as np
import pandas as pd
from nltk.tokenize.destructive import NLTKWordTokenizer
from sklearn.feature_extraction.text import TfidfVectorizer

_TOKENIZER = NLTKWordTokenizer()
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(\[])")


def words(text: str) -> list[str]:
    """The words of a text, as nltk.word_tokenize gives them.

    DIFFERS: sentences end by a fixed rule (a full stop, exclamation or question mark before a capital, quote or
    bracket), because nltk's sentence model is a download.
    """
    return [word for sentence in _SENTENCE.split(text) for word in _words(sentence)]


@lru_cache(2**14)  # every text is asked for twice, and sentences recur from text to text
def _words(sentence: str) -> tuple[str, ...]:
    return tuple(_TOKENIZER.tokenize(sentence))


def ngram_entropy(text: str, n: int) -> float:
    """Shannon entropy in bits of the n-gram frequencies of `text`; 0 for fewer than n words."""
    tokens = words(text)
    grams = list(zip(*(tokens[i:] for i in range(n))))
    if not grams:
        return 0.0
    occurrences = Counter(" ".join(gram) for gram in grams)
    counts = np.array(
        [occurrences[gram] for gram in sorted(occurrences)]
    )  # sorted: the sum below rounds as its terms stand
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())


def generation_entropy(texts: list[str]) -> float:
    """GE of a record's texts in bits: the mean over texts of the mean of 2/3 H2 and 4/3 H3, the entropies of n-grams.

    DIFFERS: ROME eq. 27 sums the two; its code takes the mean.
    """
    return float(np.mean([np.mean([2 / 3 * ngram_entropy(t, 2), 4 / 3 * ngram_entropy(t, 3)]) for t in texts]))


class References:
    """Reference texts by (relation, object), and a TF-IDF space: the one given, or the one fitted on all of them."""

    def __init__(self, snippets: pd.DataFrame, space: TfidfVectorizer | None = None) -> None:
        self.vectorizer = space or TfidfVectorizer().fit(snippets["text"])
        self.texts = snippets.groupby(["relation_id", "target_id"])["text"].agg(" ".join)

    def similarity(self, texts: list[str], relation_id: str, target_id: str) -> float:
        """RS: cosine of the joined `texts` and the joined snippets of the object. ValueError if the object has none."""
        if (relation_id, target_id) not in self.texts.index:
            raise ValueError(f"no attribute snippet for relation {relation_id}, object {target_id}")
        pair = self.vectorizer.transform([" ".join(texts), self.texts[relation_id, target_id]])
        return float((pair[0] @ pair[1].T).toarray()[0, 0])


def published(vocabulary: dict[str, int], idf: np.ndarray) -> TfidfVectorizer:
    """The TF-IDF space of tables that were fitted elsewhere. ValueError if there is not one weight [V] per word."""
    if len(vocabulary) != len(idf):
        raise ValueError(f"TF-IDF tables that do not belong together: {len(vocabulary):,} words, {len(idf):,} weights")
    space = TfidfVectorizer(vocabulary=vocabulary)
    space.idf_ = idf
    return space


def text_metrics(
    texts: pd.DataFrame, facts: pd.DataFrame, snippets: pd.DataFrame, space: TfidfVectorizer | None = None
) -> pd.DataFrame:
    """GE and RS per case_id, from the generated texts of every record (table `texts`) of `facts`.

    RS compares in the TF-IDF space `space`, else in one fitted on all `snippets`. ValueError if the object of a record
    has no snippet.
    """
    references, rows = References(snippets, space), []
    generated = texts.sort_values("prompt_index").groupby("case_id")["text"].agg(list)
    for fact in facts[facts["case_id"].isin(generated.index)].itertuples():
        own = generated[fact.case_id]
        rows.append(
            {
                "case_id": fact.case_id,
                "GE": generation_entropy(own),
                "RS": references.similarity(own, fact.relation_id, fact.target_new_id),
            }
        )
    return pd.DataFrame(rows)
