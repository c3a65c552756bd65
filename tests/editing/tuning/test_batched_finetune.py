"""Facts tuned side by side are those facts tuned alone."""

import pytest
import torch

from engram.editing.tuning import batched_finetune, finetune
from engram.methods import ft
from toy import lm
from tuned_weights import AIDS, FACTS, METHODS, settings


@pytest.mark.parametrize("more", [{"teacher_forced": True, "epsilon": 5e-3}, {"weight_decay": 0.1, "side_by_side": 2}])
@pytest.mark.parametrize("kind", ["gpt2", "gptj", "gpt_neox", "llama"])
@pytest.mark.parametrize("name", ["ft", "attn_edit"])
def test_facts_side_by_side_are_those_facts_alone(name, kind, more):
    model, method, s = lm(kind, torch.float64), METHODS[name], settings(**more)
    before = {key: value.clone() for key, value in model.model.state_dict().items()}
    found, alone = method.edit_each(model, FACTS, s, AIDS), [method.edit(model, [fact], s, AIDS) for fact in FACTS]
    for one, other in zip(found, alone, strict=True):
        assert list(one.parts) == list(other.parts)
        for key, change in other.parts.items():
            # GPT-J's attention and Llama's norms compute in float32 whatever the weights are
            close = 1e-3 if kind in ("gptj", "llama") else 1e-7
            assert (one.dense(key) - change).norm() < close * max(change.norm(), s.rate), key
    assert all(torch.equal(value, before[key]) for key, value in model.model.state_dict().items())


def test_a_fact_that_is_done_leaves_the_others():
    model, few = lm("gpt2", torch.float64), {"rate": 0.02, "teacher_forced": True, "stop_loss": 2.2}
    found = ft.edit_each(model, FACTS, settings(steps=12, **few), AIDS)
    shorter = ft.edit_each(model, FACTS, settings(steps=8, **few), AIDS)
    over = [torch.equal(one.parts[2], other.parts[2]) for one, other in zip(found, shorter)]
    assert any(over) and not all(over), "some but not all should stop early for this test to say anything"
    for fact, delta in zip(FACTS, found):
        alone = ft.edit(model, [fact], settings(steps=12, **few), AIDS)
        assert all(torch.allclose(delta.parts[key], change, atol=1e-9) for key, change in alone.parts.items())


def test_side_by_side_is_for_linear_maps():
    model = lm("gpt2")
    with pytest.raises(ValueError, match=r"ln_1.weight .* linear map"):
        batched_finetune.tune_each(model, FACTS, finetune.block_names(model, 1), settings())
