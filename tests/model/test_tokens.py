"""Texts at the beginning and texts that follow, with every kind of tokenizer: none, a start token, a space put in
front.
"""

import pytest

import toy
from engram.editing.facts import Fact, essence
from engram.model import scoring, tokens
from toy import PROMPTS, STARTS, TEXT

KINDS = ("gpt2", "opt", "mistral")
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
