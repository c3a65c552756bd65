"""Texts at the beginning and texts that follow, with every kind of tokenizer: none, a start token, a space put in
front.
"""

import pandas as pd
import pytest

import toy
from engram.editing import records
from engram.editing.facts import Fact, essence
from engram.model import contexts, generation, scoring, tokens
from toy import PROMPTS, TEXT

KINDS = ("gpt2", "opt", "mistral")
STARTS = {"gpt2": [], "opt": [0], "mistral": [1]}
TEXTS = [*TEXT, " a", "a b ", "Rome in Rome", "Thomas , James"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_is_what_the_tokenizer_makes_of_it(kind):
    tokenizer = toy.tokenizer(kind)
    assert tokens.start(tokenizer) == STARTS[kind]
    for text in TEXTS:
        assert tokens.prompt(tokenizer, text) == tokenizer(text)["input_ids"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_has_the_tokens_that_it_has_in_the_whole_text(kind):
    tokenizer = toy.tokenizer(kind)
    for text in TEXTS[:6]:
        for at in [i for i, letter in enumerate(text) if letter == " " and i]:
            found = tokens.prompt(tokenizer, text[:at]) + tokens.following(tokenizer, text[at:])
            assert found == tokenizer(text)["input_ids"]
            assert tokens.decode_following(tokenizer, tokens.following(tokenizer, text[at:])) == text[at:]
    assert scoring.target_ids(tokenizer, "French") == tuple(tokens.following(tokenizer, " French"))
    assert tokens.decode_following(tokenizer, []) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_subjects_are_found_behind_the_start_token(kind):
    """By decoding: the tokens of the range say the subject, whether in a prompt or in a filled template."""
    tokenizer = toy.tokenizer(kind)
    for text, subject in PROMPTS:
        begin, end = tokens.subject_range(tokenizer, text, subject)
        assert tokenizer.decode(tokenizer(text)["input_ids"][begin:end]).strip() == subject
        for template in ("{}" + text.removeprefix(subject), "He plays. {} is"):
            ((ids, begin, end),) = tokens.filled(tokenizer, [template], subject)
            assert ids == tokenizer(template.replace("{}", subject))["input_ids"]
            assert tokenizer.decode(ids[begin:end]).strip() == subject
        row = essence(tokenizer, Fact(0, subject, "{} is", "x"))
        assert row.ids[: len(STARTS[kind])] == STARTS[kind] and tokenizer.decode(row.ids[: row.position + 1]).endswith(
            subject
        )


@pytest.mark.parametrize("kind", KINDS)
def test_zsre_asks_for_every_token_after_the_text_so_far(kind):
    """Question and answer so far are the text that they are together, and the goal is the next token of it."""
    tokenizer = toy.tokenizer(kind)
    row = pd.DataFrame(
        [
            {
                "case_id": 1,
                "subject": "Apple",
                "prompt": "What does {} do ?",
                "target_new": "plays the piano",
                "rephrase": "What is Apple ?",
                "loc": "who plays chess",
                "loc_answer": "He",
            }
        ]
    )
    queries, keys = records.queries(tokenizer, row, "zsre")
    rewrite = [query for query, key in zip(queries, keys) if key["kind"] == "rewrite"]
    whole = tuple(tokenizer("What does Apple do ? plays the piano")["input_ids"])
    first = len(tokenizer("What does Apple do ?")["input_ids"])
    assert [query.prompt_ids for query in rewrite] == [whole[:at] for at in range(first, len(whole))]
    assert [query.target_ids for query in rewrite] == [(token,) for token in whole[first:]]


@pytest.mark.parametrize("kind", ["opt", "mistral", "qwen2"])
def test_context_texts_start_with_the_start_token_and_do_not_hold_it(kind, monkeypatch):
    """Of 6 tokens in all, that one counted; in front of a prompt they get it again, once."""
    model, sampled, real = toy.loaded(kind), [], generation.sample
    begin = STARTS.get(kind) or [model.tokenizer.eos_token_id]
    monkeypatch.setattr(generation, "sample", lambda *args: sampled.append(real(*args)) or sampled[-1])
    table = contexts.sample(model, {"rome": {"starts": [], "lengths": [[6, 4]], "top_k": 5}}, 0)
    texts = table["text"].tolist()
    assert len(set(texts)) == 4 and not any(toy.START in text or toy.END in text for text in texts), texts
    assert [(len(ids), ids[:1]) for (*rows,) in sampled for ids in rows] == [(6, begin)] * 4
    ((ids, begins, _),) = tokens.filled(model.tokenizer, [contexts.templates(table, "rome")[1]], "Apple")
    assert ids[: len(tokens.start(model.tokenizer))] == tokens.start(model.tokenizer) and begins > 1
    assert ids.count(begin[0]) == len(tokens.start(model.tokenizer))
