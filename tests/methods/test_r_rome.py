"""r-ROME: rank one, the value stored under the mean key, the smallest such change in the C-norm."""

import pytest
import torch

from closed_form_oracles import FACTS, KINDS, SETTINGS, aids_of, c_norm, slow_keys, smallest
from engram.methods import r_rome
from engram.model.delta import Delta, applied
from toy import lm


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_r_rome_stores_the_value_under_the_mean_key_with_rank_one(kind, dtype):
    model = lm(kind, dtype)
    aids = aids_of(model)
    for fact in FACTS:
        key = slow_keys(model, 1, fact)[0].mean(0)
        delta = r_rome.edit(model, [fact], SETTINGS["r-rome"], aids)
        with applied(model, delta), torch.no_grad():
            now = model.module("value", 1)(key)
        assert torch.allclose(now, aids.targets[fact.case_id], atol=1e-4 if dtype == torch.float32 else 1e-9)
        assert torch.linalg.matrix_rank(delta.dense(1)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_r_rome_is_the_smallest_solution_in_the_c_norm(kind):
    model = lm(kind, torch.float64)
    aids = aids_of(model)
    c, key = aids.moments[1].mean, slow_keys(model, 1, FACTS[0])[0].mean(0)
    change = r_rome.edit(model, FACTS[:1], SETTINGS["r-rome"], aids).dense(1)
    with torch.no_grad():
        residual = aids.targets[0] - model.module("value", 1)(key)
    assert torch.allclose(change, smallest(c, key[None], residual[:, None]), atol=1e-9 * float(change.abs().max()))
    generator = torch.Generator().manual_seed(2)
    for _ in range(20):
        other = torch.randn(change.shape, generator=generator, dtype=torch.float64)
        other -= torch.outer(other @ key, key) / key.dot(key)  # leaves W'k as it is
        assert c_norm(change + other, c) > c_norm(change, c)


def test_r_rome_of_several_facts_is_one_after_the_other():
    model = lm("gpt2", torch.float64)
    aids = aids_of(model)
    together = r_rome.edit(model, FACTS, SETTINGS["r-rome"], aids)
    total = torch.zeros(model.width, model.key_width(1), dtype=torch.float64)
    for fact in FACTS:
        with applied(model, Delta({1: total})):
            total = total + r_rome.edit(model, [fact], SETTINGS["r-rome"], aids).dense(1)
    assert torch.allclose(together.dense(1), total, atol=1e-10 * float(total.abs().max()))
