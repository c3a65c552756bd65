"""EMMET: all values met with the smallest change; of one fact it is r-ROME."""

import pytest
import torch

from closed_form_oracles import FACTS, KINDS, SETTINGS, aids_of, slow_keys, smallest, wanted
from engram.methods import emmet, r_rome
from engram.model.delta import Delta, applied
from toy import lm


@pytest.mark.parametrize("kind", KINDS)
def test_emmet_of_one_fact_is_r_rome(kind):
    model = lm(kind, torch.float64)
    aids = aids_of(model)
    one = r_rome.edit(model, FACTS[:1], SETTINGS["r-rome"], aids).dense(1)
    for weight in (1.0, 1000.0):
        other = emmet.edit(model, FACTS[:1], emmet.Settings(layer=1, covariance_weight=weight, ridge=0.0), aids).dense(
            1
        )
        assert (one - other).norm() < 1e-10 * one.norm()


@pytest.mark.parametrize("kind", KINDS)
def test_emmet_meets_all_constraints_with_the_smallest_change(kind):
    model = lm(kind, torch.float64)
    aids = aids_of(model)
    keys = torch.stack([slow_keys(model, 1, fact)[0].mean(0) for fact in FACTS])
    change = emmet.edit(model, FACTS, emmet.Settings(layer=1, covariance_weight=5.0, ridge=0.0), aids).dense(1)
    with torch.no_grad():
        before = model.module("value", 1)(keys)
    with applied(model, Delta({1: change})), torch.no_grad():
        assert torch.allclose(model.module("value", 1)(keys), wanted(aids), atol=1e-9)
    assert torch.allclose(change, smallest(aids.moments[1].mean, keys, (wanted(aids) - before).T), atol=1e-9)
    loose = emmet.edit(model, FACTS, emmet.Settings(layer=1, covariance_weight=5.0, ridge=0.1), aids).dense(1)
    c = torch.linalg.inv(5 * aids.moments[1].mean)
    formula = (wanted(aids) - before).T @ torch.linalg.inv(keys @ c @ keys.T + 0.1 * torch.eye(3)) @ keys @ c
    assert torch.allclose(loose, formula, atol=1e-10) and loose.norm() < change.norm()


def test_emmet_refuses_a_fact_twice_without_a_ridge():
    model = lm("gpt2", torch.float64)
    with pytest.raises(ValueError, match="depend on each other"):
        emmet.edit(model, FACTS[:1] * 2, emmet.Settings(layer=1, covariance_weight=1.0, ridge=0.0), aids_of(model))
