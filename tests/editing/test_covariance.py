"""Second moments: one pass over all layers equals the plain sum over every text and layer, however it is cut into
shards.
"""

import pytest
import torch

import toy
from engram.editing import covariance, second_moment
from engram.editing.second_moment import SecondMoment
from engram.job import resuming
from engram.model import tokens
from engram.model.hooks import captured
from second_moments import off, same
from toy import LONG, TEXT, lm

LIMIT = 9


def oracle(model, layer, texts, limit):
    """Sum of k kᵀ in float64 over every token of every text, one text and one token at a time; and the number of
    tokens.
    """
    total, count = 0, 0
    for text in texts:
        if not text:
            continue
        ids = model.tokenizer(text)["input_ids"][:limit]
        with captured({"value": model.module("value", layer)}, "input") as kept, torch.no_grad():
            model.model(input_ids=torch.tensor([ids]))
        for key in kept["value"][0].double():
            total, count = total + torch.outer(key, key), count + 1
    return total, count


@pytest.mark.parametrize("kind", toy.ARCHITECTURES)
def test_all_layers_from_one_pass_equal_text_by_text_and_layer_by_layer(kind):
    """A float64 model within 1e-12; a float32 one within 1e-6, whether the sum is exact or plain float32."""
    model, narrow = toy.loaded(kind, torch.float64), toy.loaded(kind)
    found = covariance.second_moments(model, [0, 2, 3], LONG, LIMIT, budget=40)
    single = {
        dtype: covariance.second_moments(narrow, [0, 2, 3], LONG, LIMIT, 40, dtype)
        for dtype in (torch.float64, torch.float32)
    }
    for layer in (0, 2, 3):
        total, count = oracle(model, layer, LONG, LIMIT)
        # GPT-J's own attention and Gemma 2's softmax compute in float32 whatever the weights are
        assert off(found[layer].total, total) < (1e-6 if kind in ("gptj", "gemma2") else 1e-12)
        total, _ = oracle(narrow, layer, LONG, LIMIT)
        for dtype, result in single.items():
            assert off(result[layer].total, total) < 1e-6 and result[layer].total.dtype == dtype
        assert {found[layer].count, *(result[layer].count for result in single.values())} == {count}


def test_the_forward_ends_before_the_last_wanted_projection():
    model, ran = lm(), []
    handles = [
        model.module(part, layer).register_forward_hook(lambda *_, name=(part, layer): ran.append(name))
        for part in ("block", "value")
        for layer in range(model.layers)
    ]
    covariance.second_moments(model, [1, 2], TEXT[:1], LIMIT, 100)
    for handle in handles:
        handle.remove()
    assert ran == [("value", 0), ("block", 0), ("value", 1), ("block", 1)]
    assert not any(model.module("value", layer)._forward_pre_hooks for layer in range(model.layers))


def test_shards_and_passes_do_not_change_a_bit():
    whole = covariance.second_moments(lm(), [0, 1, 3], LONG, LIMIT, 40)
    for count in (2, 3, 100):
        assert same(
            whole, covariance.second_moments(lm(), [3, 1, 0], LONG, LIMIT, 40, store=resuming.Store(count=count))
        )
    one = second_moment.bytes_of(lm().key_width(0))
    assert same(
        whole,
        covariance.second_moments(lm(), [0, 1, 3], LONG, LIMIT, 40, store=resuming.Store(count=2), memory=2 * one),
    )
    plain = covariance.second_moments(lm(), [0, 1, 3], LONG, LIMIT, 40, torch.float32)
    assert same(plain, covariance.second_moments(lm(), [0, 1, 3], LONG, LIMIT, 40, torch.float32, memory=one))
    with pytest.raises(
        MemoryError, match=r"layer 0 of toy-gpt2: .* width 128 takes .* bytes, but 100 are free for it on cpu"
    ):
        covariance.second_moments(lm(), [0, 1], TEXT, LIMIT, 40, memory=100)


def test_float32_sums_come_from_one_shard(tmp_path):
    whole = covariance.second_moments(lm(), [0], LONG, LIMIT, 40, torch.float32)
    kept = resuming.Store(tmp_path, 3)
    assert same(whole, covariance.second_moments(lm(), [0], LONG, LIMIT, 40, torch.float32, kept))
    assert [path.name for path in tmp_path.glob("*/*.json")] == ["0000.json"], "whatever number is asked for"


class Killed(Exception):
    """Stands for the end of the process."""


def test_a_killed_job_resumes_at_its_last_shard(tmp_path, monkeypatch):
    """Killed in every one of four shards of two passes; what is started again does only the rest and has the same
    bytes.
    """
    model, at = lm(), 0
    memory = second_moment.bytes_of(model.key_width(0))
    whole = covariance.second_moments(model, [0, 1], LONG, LIMIT, 40)
    number = len(covariance.batches(covariance.token_rows(model.tokenizer, LONG, LIMIT), 40))
    seen, call, stop = [], covariance.Feed.__call__, [0]

    def counting(self, layers, batch, take):
        if len(seen) == stop[0]:
            raise Killed
        seen.append(layers)
        call(self, layers, batch, take)

    monkeypatch.setattr(covariance.Feed, "__call__", counting)
    for at in range(3, 2 * number, 5):
        stop[0], store = at, resuming.Store(tmp_path / str(at), 4)
        seen.clear()
        with pytest.raises(Killed):
            covariance.second_moments(model, [0, 1], LONG, LIMIT, 40, store=store, memory=memory)
        files = sorted(path.name for path in (tmp_path / str(at)).rglob("*.safetensors"))
        assert len(files) <= 2, "of a running sum the last state is enough"
        stop[0] = -1
        again = covariance.second_moments(model, [0, 1], LONG, LIMIT, 40, store=store, memory=memory)
        assert same(whole, again)
        assert 2 * number <= len(seen) < 2 * number + number / 4 + 1


def test_out_of_memory_halves_the_batch_and_counts_every_key_once(monkeypatch, capsys):
    model = lm()
    whole = covariance.second_moments(model, [0, 1, 2], LONG[:9], LIMIT, 60)
    update, sizes, small = SecondMoment.update, [], [20]

    def short(self, keys):
        if len(keys) > small[0] and self.name != "layer 0":  # layer 0 has its keys when layer 1 fails
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(keys))
        update(self, keys)

    monkeypatch.setattr(SecondMoment, "update", short)
    found = covariance.second_moments(model, [0, 1, 2], LONG[:9], LIMIT, 60)
    assert max(sizes[3:]) < max(sizes) and capsys.readouterr().err.count("warning: out of memory") == 1
    for layer in whole:
        assert found[layer].count == whole[layer].count and off(found[layer].total, whole[layer].total) < 1e-6
    small[0] = 0
    with pytest.raises(MemoryError, match="row 0"):
        covariance.second_moments(model, [0, 1], LONG[:9], LIMIT, 60)


def test_batches_hold_every_row_once_within_the_budget():
    rows = [[1] * n for n in (3, 9, 1, 7, 7, 2, 0, 5)]
    found = covariance.batches(rows, budget=14, group=5)
    assert sorted(len(row) for batch in found for row in batch) == [1, 2, 3, 5, 7, 7, 9]
    assert all(len(batch[0]) * len(batch) <= 14 for batch in found)
    assert [len(batch[0]) for batch in covariance.batches(rows, budget=4)] == [9, 7, 7, 5, 3, 2]


def test_token_rows_are_those_of_every_text_alone():
    model = lm()
    found = covariance.token_rows(model.tokenizer, LONG, LIMIT, step=4)
    assert [row.tolist() for row in found] == [tokens.encode(model.tokenizer, text)[:LIMIT] for text in LONG]


def test_nothing_to_count_and_no_such_layer_are_errors():
    with pytest.raises(ValueError, match="no text of 2 has a token"):
        covariance.second_moments(lm(), [0], ["", ""], LIMIT, 40)
    with pytest.raises(ValueError, match=r"layers \[0, 4\] of toy-gpt2, whose layers are 0 to 3"):
        covariance.second_moments(lm(), [4, 0], TEXT, LIMIT, 40)


@pytest.mark.parametrize("kind", ["gpt2", "mistral"])
def test_articles_that_hold_a_number_of_tokens(kind):
    """As many of the first as are needed, each cut, with its start token; an empty one holds none."""
    model, texts = lm(kind), ["", *LONG[:8]]
    for limit in (5, 1000):
        held = [oracle(model, 0, [text], limit)[1] for text in texts]
        for count in (1, held[1], held[1] + 1, sum(held[:5]), sum(held)):
            number = covariance.articles_of(model, texts, limit, count)
            assert sum(held[:number]) >= count > sum(held[: number - 1])
        assert covariance.articles_of(model, texts, limit, sum(held) + 1) == len(texts)
    assert covariance.articles_of(model, texts, 5, 12) > covariance.articles_of(model, texts, 1000, 12)
