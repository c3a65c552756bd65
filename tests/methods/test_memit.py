"""MEMIT: one fact in one layer meets its value as lambda vanishes, as r-ROME does; what cannot be solved is refused."""

from dataclasses import replace

import pytest
import torch

from closed_form_oracles import CONTEXTS, FACTS, KINDS, LAYERS, SETTINGS, aids_of, moment, slow_keys, weighted_key
from engram.editing import closed_form
from engram.editing.second_moment import Moment
from engram.methods import memit, r_rome
from engram.model.delta import applied
from toy import lm


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("contexts", [("{}",), CONTEXTS])
def test_memit_of_one_fact_and_one_layer_meets_its_value_as_lambda_vanishes(kind, contexts):
    model = lm(kind, torch.float64)
    aids, fact = aids_of(model, contexts=contexts), FACTS[1]
    key, before, _ = weighted_key(model, 2, fact, contexts), *slow_keys(model, 2, fact, contexts)[1:]
    gaps = []
    for weight in (1e-2, 1e-6, 1e-12):
        settings = memit.Settings(layer=2, layers=(2,), covariance_weight=weight)
        delta = memit.edit(model, [fact], settings, aids)
        gaps.append(float((delta.dense(2) @ key - (aids.targets[fact.case_id] - before)).norm()))
        with applied(model, delta):
            now = slow_keys(model, 2, fact, contexts)[1]
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 1e-10
    if contexts == ("{}",):
        assert torch.allclose(now, aids.targets[fact.case_id], atol=1e-9), "the block returns z at the subject"


def test_memit_of_one_layer_tends_to_r_rome():
    """With the bare prompt as the only context, and z = h + v* - v: the two want the same change of the same value."""
    model = lm("gpt2", torch.float64)
    aids, fact = aids_of(model, contexts=("{}",)), FACTS[0]
    _, block, mlp = slow_keys(model, 2, fact, ("{}",))
    z = replace(aids, targets={0: aids.targets[0] + block - mlp})
    one = r_rome.edit(model, [fact], r_rome.Settings(layer=2), aids).dense(2)
    other = memit.edit(model, [fact], memit.Settings(layer=2, layers=(2,), covariance_weight=1e-12), z).dense(2)
    assert (one - other).norm() < 1e-9 * one.norm()


def test_what_cannot_be_inverted_or_found_is_refused():
    model = lm("gpt2", torch.float64)
    aids = aids_of(model)
    flat = Moment(torch.outer(torch.ones(128), torch.ones(128)).double(), 1)
    with pytest.raises(ValueError, match="rank 1 of 128"):
        memit.edit(model, FACTS, SETTINGS["memit"], replace(aids, moments=dict.fromkeys(LAYERS, flat)))
    with pytest.raises(ValueError, match="no optimised value for case 7 and 1 more of 3"):
        memit.edit(model, FACTS, SETTINGS["memit"], replace(aids, targets={0: aids.targets[0]}))
    with pytest.raises(ValueError, match="first must be the bare prompt"):
        memit.edit(model, FACTS, SETTINGS["memit"], replace(aids, contexts=("He. {}",)))
    with pytest.raises(ValueError, match="right is a positive weight"):
        closed_form.least_squares(moment(4), 0.0, torch.randn(5, 4))
    for name, key in (("memit", "covariance_weight"), ("emmet", "covariance_weight"), ("alphaedit", "threshold")):
        with pytest.raises(ValueError, match=key):
            replace(SETTINGS[name], **{key: -1.0})
    for layers, says in (((), "at least 1 item"), ((1, 0), "rising list that ends"), ((0, 1), "rising list that ends")):
        with pytest.raises(ValueError, match=says):
            memit.Settings(layer=2, layers=layers, covariance_weight=1.0)
