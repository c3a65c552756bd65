"""A second moment: exact sums in any order, its inverse and rank, and its stored form, which knows its model."""

import math
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from transformers import PreTrainedTokenizerFast

import toy
from engram.editing import covariance, second_moment
from engram.editing.second_moment import SecondMoment
from engram.job import io
from engram.model import checkpoints
from second_moments import keys_of, off, same, summed
from toy import TEXT, lm


def test_shards_merge_exactly_in_any_order():
    """Blocks of very different size, 40 of them: every grouping has the bytes of the whole, 1e-12 from plain
    float64.
    """
    blocks = [keys_of(5 + i, 130, i, torch.float32) * 10 ** (1 - i % 3) for i in range(40)]
    count = sum(map(len, blocks))
    whole = summed(blocks, expected=count)
    plain = summed(blocks)
    assert off(whole.result().total, plain.result().total) < 1e-12
    assert whole.result().count == plain.result().count == count
    naive = [summed(blocks[::-1]).result().total, plain.result().total]
    assert not torch.equal(*naive), "plain float64 does depend on the order; the exact sum below does not"
    for cuts in ([7, 20], [1], [3, 4, 39], [13, 26]):
        parts = [summed(blocks[a:b], expected=count, exponent=whole.exponent) for a, b in zip([0, *cuts], [*cuts, 40])]
        while len(parts) > 1:
            parts[-2].merge(parts.pop())
        assert same({0: whole.result()}, {0: parts[0].result()})
    with pytest.raises(ValueError, match="cannot be merged exactly"):
        whole.merge(summed(blocks[:1], expected=count, exponent=whole.exponent + 1))
    with pytest.raises(ValueError, match="cannot be merged exactly"):
        plain.merge(summed(blocks[:1]))


def test_a_sum_that_leaves_its_grid_is_an_error():
    one = SecondMoment(4, expected=100, name="layer 5")
    one.update(torch.ones(10, 4))
    one.update(31 * torch.ones(90, 4))
    assert one.result().count == 100
    one.update(200 * torch.ones(10, 4))
    with pytest.raises(OverflowError, match=r"layer 5: the sum has an entry of .*, but its grid ends at 1.31e.05"):
        one.result()
    wild = summed([torch.tensor([[1.0, math.nan]])], expected=1)
    with pytest.raises(ValueError, match="not finite"):
        wild.state()
    assert torch.equal(summed([torch.zeros(3, 2)], expected=3).result().total, torch.zeros(2, 2, dtype=torch.float64))


@pytest.mark.parametrize("width", [1, 7, 64, 130, 1100])
@pytest.mark.parametrize("expected", [None, 50])
def test_stripes_make_up_the_whole_matrix(width, expected):
    keys = keys_of(50, width)
    found = summed(list(keys.split([1, 29, 20])), expected=expected).result()
    assert torch.equal(found.total, found.total.T) and found.total.dtype == torch.float64
    assert off(found.total, keys.T @ keys) < 1e-13 and found.count == 50
    kept = sum((end - start) * end for start, end in second_moment.stripes_of(width))
    assert second_moment.bytes_of(width) == 8 * kept + 8 * width and (
        width < 1000 or kept < 0.63 * width**2 or width == 1100
    )


def test_accumulator_and_result_are_apart():
    moment = SecondMoment(3)
    with pytest.raises(ValueError, match="no keys"):
        moment.result()
    moment.update(torch.ones(2, 3))
    answer = moment.result()
    moment.update(torch.ones(2, 3))
    assert answer.count == 2 and float(answer.total[0, 0]) == 2


def test_solve_inverts_and_reports_a_missing_rank():
    keys = keys_of(50, 6)
    moment = second_moment.Moment(keys.T @ keys, 50)
    wanted = torch.linalg.inv(moment.mean) @ keys[:2].T
    assert torch.allclose(moment.solve(keys[:2]), wanted, rtol=1e-8)
    assert moment.solve(keys[:2].float()).dtype == torch.float64
    assert moment.rank() == 6
    for found in (2, 3, 5):
        with pytest.raises(ValueError, match=f"rank {found} of 6 .*{found} keys.*covariance.ridge"):
            second_moment.Moment(keys[:found].T @ keys[:found], found).solve(keys[:1])


@pytest.mark.parametrize(
    ("true", "dtype"),
    [(1, torch.float64), (17, torch.float64), (39, torch.float64), (1, torch.float32), (17, torch.float32)],
)
def test_rank_is_found_behind_the_noise_of_the_products(true, dtype):
    """More keys than columns, but of a smaller space."""
    keys = (keys_of(300, true) @ keys_of(true, 40, 1)).to(dtype)
    moment = (
        second_moment.Moment((keys.T @ keys).double(), 300)
        if dtype == torch.float64
        else summed([keys], expected=300).result()
    )
    assert moment.rank() == true
    with pytest.raises(ValueError, match=f"rank {true} of 40"):
        moment.solve(keys[:1])


def test_badly_scaled_columns_do_not_pass_for_missing_ones():
    keys = keys_of(300, 40) * torch.logspace(-9, 3, 40, dtype=torch.float64)
    moment = second_moment.Moment(keys.T @ keys, 300)
    assert moment.rank() == 40 and second_moment.Moment(moment.total.clone().fill_diagonal_(0), 300).rank() == 0
    assert torch.allclose(moment.mean @ moment.solve(keys[:1]), keys[:1].T, rtol=1e-6)


def test_a_ridge_is_used_only_where_asked_for():
    keys = keys_of(3, 6)
    short = second_moment.Moment(keys.T @ keys, 3, ridge=0.1)
    mean = short.mean
    wanted = torch.linalg.inv(mean + 0.1 * mean.diagonal().mean() * torch.eye(6)) @ keys.T
    assert torch.allclose(short.solve(keys), wanted, rtol=1e-10)
    assert torch.equal(short.mean, keys.T @ keys / 3), "the statistic itself has none"
    assert short.rank() == 3
    with pytest.raises(ValueError, match="rank 3 of 6"):
        second_moment.Moment(keys.T @ keys, 3).solve(keys)


def a_job(tmp_path, name="a", **more):
    """A job with the manifest of a model `name`; `more`: keys of it that are others."""
    about = {"model": name, "kind": "trained", "source": name, "commit": None, "architecture": "gpt2"}
    about |= {"dtype": "float32", "parameters": 5, "tied": True, "quantisation": None, "licence": None}
    about |= {"weights": "weights of a", "tokenizer": "tokenizer of a", "files": {}, "bytes": {}}
    io.write(tmp_path / f"{name}.json", about | more)
    return SimpleNamespace(inputs=SimpleNamespace(manifest=tmp_path / f"{name}.json"))


def test_stored_form_round_trips():
    found = {3: second_moment.Moment(torch.eye(2), 5), 11: second_moment.Moment(2 * torch.eye(2), 7)}
    again = second_moment.from_tensors(*second_moment.to_tensors(found))
    assert {layer: (m.count, m.total.tolist()) for layer, m in again.items()} == {
        layer: (m.count, m.total.tolist()) for layer, m in found.items()
    }


def test_a_statistic_of_other_weights_tokenizer_or_width_is_refused(tmp_path):
    model, job, path = lm(), a_job(tmp_path), tmp_path / "moments.safetensors"
    found = covariance.second_moments(model, [0, 2], TEXT, 9, 40)
    io.write(path, second_moment.to_tensors(found, second_moment.identity(job) | {"ridge": 0.25}))
    again = second_moment.load(path, job, model)
    assert same(found, again) and {moment.ridge for moment in again.values()} == {0.25}
    for key in ("weights", "tokenizer"):
        with pytest.raises(ValueError, match=rf"{key} {key} of a.* cannot be used .*: the {key} differ"):
            second_moment.load(path, a_job(tmp_path, "b", **{key: f"{key} of b"}), model)
    with pytest.raises(ValueError, match="unnamed model have width 128, but the keys of toy-gpt2 there have width 256"):
        second_moment.from_tensors(io.read_tensors(path)[0], {"count": {"0": 1, "2": 1}}, lm(width=64))
    tensors, _ = io.read_tensors(path)
    with pytest.raises(ValueError, match=r"second moments of model unknown / .*: the weights differ"):
        second_moment.from_tensors(tensors, {"count": {"0": 1, "2": 1}}, model, second_moment.identity(job))


def test_a_tokenizer_is_known_by_what_it_does_not_by_its_last_call():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=type(toy.tokenizer().backend_tokenizer).from_str(toy.tokenizer().backend_tokenizer.to_str()),
        pad_token="<|endoftext|>",
    )
    before = checkpoints.tokenizer_hash(tokenizer)
    tokenizer(TEXT, truncation=True, max_length=3, padding=True)
    assert checkpoints.tokenizer_hash(tokenizer) == before


def test_a_dataset_is_known_by_its_texts_in_their_order():
    table = pd.DataFrame({"article_id": [0, 1, 2], "text": ["ab", "c", ""]})
    others = [table, table[::-1], table[:2], table.assign(text=["a", "bc", ""]), table.assign(article_id=[0, 1, 3])]
    assert len({covariance.fingerprint(one) for one in others}) == 5
    assert covariance.fingerprint(table.reset_index()) == covariance.fingerprint(table)


def test_a_moment_is_factored_once(monkeypatch):
    factored, real = [], second_moment._factor
    monkeypatch.setattr(second_moment, "_factor", lambda matrix: factored.append(1) or real(matrix))
    draws = torch.randn(2, 50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first, second = (second_moment.Moment(keys.T @ keys, 50) for keys in draws)
    key = torch.ones(1, 6, dtype=torch.float64)
    found = [first.solve(key) for _ in range(3)]
    assert len(factored) == 1 and all(torch.equal(one, found[0]) for one in found)
    assert torch.allclose(first.mean @ found[0], key.T)
    ridged = second_moment.Moment(first.total, 50, ridge=0.5).solve(key)
    assert len(factored) == 2 and not torch.allclose(ridged, found[0], rtol=1e-2), "another ridge, another matrix"
    assert torch.allclose(second.mean @ second.solve(key), key.T)


def test_a_second_moment_that_is_no_number(tmp_path, monkeypatch):
    path = tmp_path / "moments.safetensors"
    total = torch.eye(4, dtype=torch.float64)
    monkeypatch.setattr(second_moment, "identity", lambda job: {})
    for bad in (float("nan"), float("inf")):
        io.write(path, second_moment.to_tensors({0: second_moment.Moment(total.clone().fill_(bad), 9)}))
        with pytest.raises(
            ValueError, match=r"moments.safetensors: the second moment of layer 0 has entries that are not finite"
        ):
            second_moment.load(path, None, None)
