"""What every file in methods/ promises, found by looking into the folder: a new method is tested without a line
here.
"""

from dataclasses import fields, replace

import pytest
import torch

from engram.editing import covariance, editor
from engram.editing.facts import Fact, lookups, target_tokens
from engram.editing.hypernet import editors, ke, mend
from engram.editing.values import targets
from engram.model.delta import applied
from engram.settings import hyperparameters, objective
from toy import PROMPTS, TEXT, lm

CONTEXTS = ("{}",)
# the key is looked up at the last token: what is stored there speaks without a detour through a random model's
# attention
FACTS = [
    Fact(i, subject, "He plays {}", target)
    for i, ((_, subject), target) in enumerate(zip(PROMPTS, ("French", "Rome in Switzerland", "chess")))
]
GIVEN = {"layer": 1, "layers": (0, 1), "covariance_weight": 1e-3}  # keys without a default
OWN_TEST = {  # whose target becomes likelier where a toy cannot show it
    "none": "changes nothing",
    "kn": "needs a model that knows its answers: test_neurons.py",
    "ke": "needs a trained network: test_hypernet.py",
}
NETS = {"mend": mend.Network(layers=2, rank=8, edit_rate=0.1), "ke": ke.Network(layers=2, hidden=16, condition=12)}


def settings_of(name: str):
    """The method's Settings for a toy: what must be given, and strong enough to be seen in a few steps."""
    keys = hyperparameters.keys_of(name)
    values = {key: GIVEN[key] for key, about in keys.items() if about.required}
    if "clamp_norm_factor" in keys:  # optimised values
        values |= {"steps": 15, "rate": 1.0, "clamp_norm_factor": 20.0}
    elif "decay_law" in keys:  # fine-tuning
        values |= {"steps": 12, "rate": 0.02}
    return editor.load(name).Settings(**values)


def aids_of(model, name: str, settings) -> editor.Aids:
    """Values that were really optimised, second moments of real keys, an editor."""
    needs, found = hyperparameters.constant(name, "NEEDS"), {"contexts": CONTEXTS}
    if "covariance" in needs:
        moments = covariance.second_moments(model, [0, 1], TEXT * 2, 64, 512)
        found["moments"] = {layer: replace(one, ridge=0.01) for layer, one in moments.items()}
    if "targets" in needs:
        wanted = {field.name: getattr(settings, field.name) for field in fields(objective.Settings)}
        value = targets.optimise(model, FACTS, list(CONTEXTS), objective.Settings(**wanted), batch=3).value
        found["targets"] = {fact.case_id: one for fact, one in zip(FACTS, value)}
    if "hypernet" in needs:
        found["hypernet"] = editors.to_artifact(editors.build(model, name, NETS[name], 0), {"seen": []})
    return editor.Aids(**found)


def fitted(name: str, settings, aids):
    """AlphaEdit's threshold lies between eigenvalues of the C at hand."""
    if name != "alphaedit":
        return settings
    return replace(settings, threshold=float(torch.linalg.eigvalsh(aids.moments[1].mean)[-8]), ridge=1e-3)


def nll(model, fact) -> float:
    """Of the fact's target after its prompt, mean per token."""
    goal = target_tokens(model.tokenizer, fact)
    (row,) = lookups(model.tokenizer, fact, ["{}"], goal[:-1])
    with torch.no_grad():
        logits = model.model(input_ids=torch.tensor([row.ids])).logits[0, -len(goal) :]
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(goal)))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral", "opt"])
@pytest.mark.parametrize("name", hyperparameters.files())
def test_contract(name, kind):
    """Weights keep their bytes, the same seed gives the same delta, targets get likelier, many facts where that is
    declared.
    """
    model, method, regimes = lm(kind), editor.load(name), hyperparameters.constant(name, "REGIMES")
    assert regimes and set(regimes) <= {"single", "mass", "sequential"}
    before = {key: tensor.clone() for key, tensor in model.model.state_dict().items()}
    settings = settings_of(name)
    aids = aids_of(model, name, settings)
    settings = fitted(name, settings, aids)
    for facts in [FACTS[:1]] * ("single" in regimes) + [FACTS] * ("mass" in regimes or "sequential" in regimes):
        delta, again = (method.edit(model, facts, settings, aids) for _ in range(2))
        assert delta.parts.keys() == again.parts.keys() and bool(delta.parts) == (name != "none")
        assert all(torch.equal(delta.dense(key), again.dense(key)) for key in delta.parts), "same seed, same delta"
        assert all(torch.equal(tensor, before[key]) for key, tensor in model.model.state_dict().items())
        if name not in OWN_TEST:
            old = [nll(model, fact) for fact in facts]
            with applied(model, delta):
                assert all(nll(model, fact) < was - 0.05 for fact, was in zip(facts, old)), (
                    "the target gets more probable"
                )
            assert all(torch.equal(tensor, before[key]) for key, tensor in model.model.state_dict().items())
    if hasattr(method, "edit_each"):
        for fact, delta in zip(FACTS, method.edit_each(model, FACTS, settings, aids), strict=True):
            other, found = method.edit(model, [fact], settings, aids), []
            for one in (delta, other):  # by what they do: Adam turns rounding of a slope that is zero into a step
                with applied(model, one):
                    found.append(nll(model, fact))
            assert delta.parts.keys() == other.parts.keys() and found[0] == pytest.approx(found[1], abs=0.01)
