"""Second moments: one pass over all layers equals the plain sum over every text and layer."""

import pytest
import torch

from engram import covariance, tokens
from engram.hooks import captured
from toy import TEXT, lm


@pytest.mark.parametrize("kind", ("gpt2", "gptj", "gpt_neox", "llama"))
def test_all_layers_from_one_pass_equal_text_by_text_and_layer_by_layer(kind):
    model, limit = lm(kind, torch.float64), 9
    found = covariance.second_moments(model, [0, 2], TEXT * 3, limit, budget=40)
    for layer in (0, 2):
        total, count = 0, 0
        for text in TEXT * 3:
            ids = tokens.encode(model.tokenizer, text)[:limit]
            with captured({"value": model.module("value", layer)}, "input") as kept, torch.no_grad():
                model.model(input_ids=torch.tensor([ids]))
            for key in kept["value"][0]:
                total, count = total + torch.outer(key, key), count + 1
        assert found[layer].count == count
        # GPT-J's own attention computes in float32 whatever the weights are
        assert (found[layer].total - total).norm() / total.norm() < (1e-6 if kind == "gptj" else 1e-12)


def test_streamed_is_all_at_once():
    keys = torch.randn(100, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moment = covariance.SecondMoment(7)
    for part in keys.split([1, 60, 39]):
        moment.update(part)
    assert torch.allclose(moment.result().mean, keys.T @ keys / 100, rtol=1e-13)


def test_accumulator_and_result_are_apart():
    moment = covariance.SecondMoment(3)
    with pytest.raises(ValueError, match="no keys"):
        moment.result()
    moment.update(torch.ones(2, 3))
    answer = moment.result()
    moment.update(torch.ones(2, 3))
    assert answer.count == 2 and float(answer.total[0, 0]) == 2


def test_batches_hold_every_row_once_within_the_budget():
    rows = [[1] * n for n in (3, 9, 1, 7, 7, 2, 0, 5)]
    found = covariance.batches(rows, budget=14, group=5)
    assert sorted(len(row) for batch in found for row in batch) == [1, 2, 3, 5, 7, 7, 9]
    assert all(len(batch[0]) * len(batch) <= 14 for batch in found)


def test_solve_inverts_and_reports_a_missing_rank():
    keys = torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moment = covariance.Moment(keys.T @ keys, 50)
    wanted = torch.linalg.inv(moment.mean) @ keys[:2].T
    assert torch.allclose(covariance.solve(moment, keys[:2]), wanted, rtol=1e-8)
    with pytest.raises(ValueError, match="rank 2 of 6"):
        covariance.solve(covariance.Moment(keys[:2].T @ keys[:2], 2), keys[:1])


def test_stored_form_round_trips():
    moments = {3: covariance.Moment(torch.eye(2), 5), 11: covariance.Moment(2 * torch.eye(2), 7)}
    again = covariance.from_tensors(*covariance.to_tensors(moments))
    assert {layer: (m.count, m.total.tolist()) for layer, m in again.items()} == {
        layer: (m.count, m.total.tolist()) for layer, m in moments.items()}
