"""How trained editors edit: weights stay, facts add up, an artifact belongs to its model and its training records."""

import pytest
import torch

import toy
from engram.editing import records
from engram.editing.facts import Fact
from engram.editing.trained_editors import editors, factors
from hypernets import FACTS, KINDS, artifact, close, delta_of, net_of, tables, task_of


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_an_edit_leaves_the_weights_alone_and_is_the_same_twice(kind, architecture):
    lm = toy.lm(architecture)
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    net = net_of(lm, kind, moved=0.1)
    first, second = (delta_of(lm, kind, net, FACTS[:1]) for _ in range(2))
    assert all(torch.equal(first.dense(name), second.dense(name)) for name in factors.maps(lm, 2))
    with pytest.raises(ValueError, match="prompt and a target"):
        delta_of(lm, kind, net, [Fact(0, "", "{}", "x")])
    assert all(torch.equal(value, before[name]) for name, value in lm.model.state_dict().items())
    assert not any(module._forward_hooks or "forward" in vars(module) for module in lm.model.modules())


@pytest.mark.parametrize("copies", [1, 40])
def test_mend_sums_over_facts(copies):
    """Many facts at once are the sum of their single changes; dense as soon as that is smaller. KE refuses."""
    lm = toy.lm("gpt2")
    net = net_of(lm, "mend", moved=0.1)
    together = delta_of(lm, "mend", net, FACTS[:2] * copies, 0.5)
    single = [delta_of(lm, "mend", net, [fact], 0.5) for fact in FACTS[:2]]
    for name in together.parts:
        assert close(together.dense(name), copies * sum(delta.dense(name) for delta in single), 1e-4)
        assert isinstance(together.parts[name], tuple) == (copies == 1)
    with pytest.raises(ValueError, match="ke edits one fact at a time, asked for 2"):
        delta_of(lm, "ke", net_of(lm, "ke"), FACTS[:2])


def test_an_artifact_of_another_kind_or_model_is_refused():
    lm = toy.lm("gpt2")
    tensors, about = artifact(net_of(lm, "mend"))
    with pytest.raises(ValueError, match="of kind 'mend', expected 'ke'"):
        editors.restore(lm, "ke", tensors, about)
    with pytest.raises(ValueError, match="made for another model"):
        editors.restore(toy.lm("gpt2", width=16), "mend", tensors, about)
    with pytest.raises(ValueError, match="rank: Unexpected keyword argument"):
        editors.settings_of("ke", {"rank": 3})


def test_an_edit_of_a_record_that_was_trained_on_is_refused():
    lm = toy.lm()
    task = task_of(lm)
    fact = records.to_facts(tables()["facts"].iloc[[7]])[0]
    with pytest.raises(ValueError, match=r"case 7 \('Martin Zürich', '\{\} plays'\) is in the training split"):
        editors.edit(lm, "mend", [fact], 1.0, artifact(net_of(lm, "mend"), task.about["seen"]))
