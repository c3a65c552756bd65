"""The contract of all methods with a closed form, with values that were really optimised and moments of real keys."""

from dataclasses import replace

import pytest
import torch

from closed_form_oracles import FACTS, KINDS, LAYERS, SETTINGS
from engram.editing import covariance, editor
from engram.editing.editor import Aids
from engram.editing.facts import lookups, target_tokens
from engram.editing.values import targets
from engram.model.delta import applied
from toy import TEXT, lm

# the looked-up token is the last one: what is stored there speaks without a detour through a random model's attention
LAST = [replace(fact, prompt="He plays {}") for fact in FACTS]


def real_aids(model, name):
    """Values that were really optimised, and second moments of real keys."""
    found = covariance.second_moments(model, list(LAYERS), TEXT * 2, 64, 512)
    moments = {layer: replace(one, ridge=0.01) for layer, one in found.items()}
    settings = replace(SETTINGS[name], steps=15, rate=1.0, clamp_norm_factor=20.0)
    values = targets.optimise(model, LAST, ["{}"], settings, batch=3).value
    return Aids(contexts=("{}",), moments=moments, targets={fact.case_id: value for fact, value in zip(LAST, values)})


def nll(model, fact):
    """Of the fact's target after its prompt, mean per token."""
    goal = target_tokens(model.tokenizer, fact)
    (row,) = lookups(model.tokenizer, fact, ["{}"], goal[:-1])
    with torch.no_grad():
        logits = model.model(input_ids=torch.tensor([row.ids])).logits[0, -len(goal) :]
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(goal)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SETTINGS)
def test_contract(kind, name):
    model, method = lm(kind), editor.load(name)
    before = {key: tensor.clone() for key, tensor in model.model.state_dict().items()}
    aids, settings = real_aids(model, name), SETTINGS[name]
    if name == "alphaedit":
        settings = replace(settings, threshold=float(torch.linalg.eigvalsh(aids.moments[1].mean)[-8]), ridge=1e-3)
    elif name != "r-rome":
        settings = replace(settings, covariance_weight=1e-3)
    for facts in ([LAST[0]], LAST):
        delta, again = (method.edit(model, facts, settings, aids) for _ in range(2))
        assert all(torch.equal(delta.dense(key), again.dense(key)) for key in delta.parts), "same seed, same delta"
        assert all(torch.equal(tensor, before[key]) for key, tensor in model.model.state_dict().items())
        old = [nll(model, fact) for fact in facts]
        with applied(model, delta):
            new = [nll(model, fact) for fact in facts]
        assert all(now < was - 0.1 for now, was in zip(new, old)), "the target gets more probable"
    with pytest.raises(ValueError, match="no optimised value"):
        method.edit(model, LAST, settings, replace(aids, targets={LAST[0].case_id: aids.targets[LAST[0].case_id]}))
    broken = replace(aids, moments={LAYERS[0]: aids.moments[LAYERS[0]]})
    with pytest.raises(KeyError):
        method.edit(model, LAST, settings, broken)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.model.state_dict().items()), (
        "also after an error"
    )
    assert set(method.REGIMES) <= {"single", "mass", "sequential"} and "targets" in method.NEEDS
