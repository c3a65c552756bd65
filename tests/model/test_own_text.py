"""Text that a model writes itself: the same whatever is written beside it, from its start to its first end."""

import pytest

import toy
from engram.model import generation, own_text, tokens
from engram.settings.sections import Sampled

SETTINGS = Sampled(passages=12, tokens=12, top_k=40, heldout=5)


def texts(table):
    return dict(zip(table.iloc[:, 0], table["text"]))


@pytest.mark.parametrize("kind", ["gpt2", "mistral"])
def test_a_text_depends_on_its_number_and_the_seed_alone(kind, monkeypatch):
    lm = toy.lm(kind, layers=2)
    found = own_text.sample(lm, SETTINGS, 0)
    assert list(found["text"].columns) == ["article_id", "title", "text"] and len(set(found["text"]["text"])) > 8
    again = own_text.sample(lm, Sampled(passages=4, tokens=12, top_k=40, heldout=9), 0)
    monkeypatch.setattr(generation, "_even", lambda count, most: 1)  # each alone
    alone = own_text.sample(lm, SETTINGS, 0)
    for name in ("text", "heldout"):
        one, other = texts(found[name]), texts(again[name])
        both = set(one) & set(other)
        assert len(both) >= 3 and all(one[number] == other[number] for number in both)
        assert found[name].equals(alone[name])
    assert not set(found["text"]["text"]) & set(found["heldout"]["text"]), "generators of their own"
    assert not set(found["text"]["text"]) & set(own_text.sample(lm, SETTINGS, 1)["text"]["text"])


def written(monkeypatch, lm, rows):
    """What `sample` makes of the token ids `rows`, and what it asks for."""
    asked = []

    def given(lm, prompts, keys, length, top_k, **batch):
        asked.append((set(prompts), length))
        begin = tokens.prompt(lm.tokenizer, prompts[0])
        return [begin + row for row in rows][: len(prompts)]

    monkeypatch.setattr(generation, "token_ids", given)
    return own_text.sample(lm, Sampled(passages=len(rows), tokens=20, top_k=40, heldout=0), 0)["text"], asked


@pytest.mark.parametrize(("kind", "begin"), [("gpt2", "\n"), ("opt", ""), ("mistral", "")])
def test_a_text_begins_behind_a_start_and_ends_before_its_first_end(kind, begin, monkeypatch):
    lm = toy.lm(kind)
    end, one, other = lm.tokenizer.eos_token_id, *(tokens.encode(lm.tokenizer, text) for text in toy.TEXT[:2])
    rows = [[*one, end, *other], [end, *one], one, [*one, end, *other, end]]
    table, asked = written(monkeypatch, lm, rows)
    assert table["article_id"].tolist() == [0, 2, 3], "the empty one is left out, the others keep their numbers"
    assert table["text"].tolist() == [toy.TEXT[0]] * 3
    assert asked == [({begin}, 21)], "twenty tokens behind the first"


def test_a_model_may_have_further_end_tokens(monkeypatch):
    lm = toy.lm("gpt2")
    one, other = (tokens.encode(lm.tokenizer, text) for text in toy.TEXT[:2])
    (stop,) = tokens.encode(lm.tokenizer, "?")
    rows = [[*one, stop, *other]]
    assert "?" in written(monkeypatch, lm, rows)[0]["text"][0]
    lm.model.generation_config.eos_token_id = [lm.tokenizer.eos_token_id, stop]
    assert written(monkeypatch, lm, rows)[0]["text"].tolist() == [toy.TEXT[0]]


def test_no_more_tokens_than_positions(monkeypatch):
    lm, lengths, real = toy.lm("gpt2", layers=1), [], generation.token_ids

    def noted(*args, **batch):
        written = real(*args)
        lengths.extend(map(len, written))
        return written

    monkeypatch.setattr(generation, "token_ids", noted)
    found = own_text.sample(lm, Sampled(passages=2, tokens=1000, top_k=5, heldout=0), 0)
    assert found["heldout"].empty and list(found["heldout"].columns) == ["passage_id", "text"]
    assert lengths == [toy.POSITIONS] * 2
