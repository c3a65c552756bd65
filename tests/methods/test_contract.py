"""What every file in methods/ promises, found by looking into the folder: a new method is tested without a line
here.
"""

import pytest
import torch

from engram.editing import editor
from engram.editing.facts import lookups, target_tokens
from engram.model.delta import applied
from engram.settings import methods
from method_cases import FACTS, aids_of, fitted, settings_of
from toy import lm

OWN_TEST = {  # whose target becomes likelier where a toy cannot show it
    "none": "changes nothing",
    "kn": "needs a model that knows its answers: test_neurons.py",
    "ke": "needs a trained network: test_hypernet.py",
}


def nll(model, fact) -> float:
    """Of the fact's target after its prompt, mean per token."""
    goal = target_tokens(model.tokenizer, fact)
    (row,) = lookups(model.tokenizer, fact, ["{}"], goal[:-1])
    with torch.no_grad():
        logits = model.model(input_ids=torch.tensor([row.ids])).logits[0, -len(goal) :]
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(goal)))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral", "opt"])
@pytest.mark.parametrize("name", methods.files())
def test_contract(name, kind):
    """Weights keep their bytes, the same seed gives the same delta, targets get likelier, many facts where that is
    declared.
    """
    model, method, regimes = lm(kind), editor.load(name), editor.load(name).REGIMES
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
