"""Context texts: their starts, lengths and templates; each depends on its own draws alone."""

import pytest

import toy
from engram.model import contexts, generation, tokens
from toy import STARTS, lm

FAMILIES = {
    "rome": {"starts": [], "lengths": [[5, 2], [8, 1]], "top_k": 5},
    "memit": {"starts": ["The", "He"], "lengths": [[6, 2]], "top_k": 5},
}


def test_context_texts_have_their_starts_and_lengths():
    model = lm("gpt2")
    table = contexts.sample(model, FAMILIES, 0)
    assert list(table["family"]) == ["rome"] * 3 + ["memit"] * 4
    assert list(table["length"]) == [5, 5, 8, 6, 6, 6, 6]
    memit = table[table["family"] == "memit"]["text"]
    assert [text.startswith(start) for text, start in zip(memit, ("The", "The", "He", "He"))] == [True] * 4
    assert memit.nunique() == 4, "each text has draws of its own"
    assert contexts.templates(table, "memit") == ["{}"] + [text + ". {}" for text in memit]
    with pytest.raises(ValueError, match=r"no context texts of the family 'pmet'.*'memit', 'rome'"):
        contexts.templates(table, "pmet")


def test_a_context_text_depends_on_nothing_else_in_the_table():
    model = lm("gpt2")
    table, alone = contexts.sample(model, FAMILIES, 0), contexts.sample(model, {"memit": FAMILIES["memit"]}, 0)
    assert list(table[table["family"] == "memit"]["text"]) == list(alone["text"])
    assert list(contexts.sample(model, FAMILIES, 1)["text"]) != list(table["text"])


def test_braces_of_a_context_text_become_spaces(monkeypatch):
    monkeypatch.setattr(contexts.generation, "generate", lambda *_args: ["a {} b"] * 2)
    table = contexts.sample(lm("gpt2"), {"memit": {"starts": ["a"], "lengths": [[6, 2]], "top_k": 5}}, 0)
    assert list(table["text"]) == ["a    b"] * 2


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
