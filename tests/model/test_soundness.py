"""A model is computed with only if its weights, and what it says, are numbers."""

import pytest
import torch

import toy
from engram.model import soundness


def test_a_sound_model_passes():
    for kind in ("gpt2", "mistral"):
        soundness.check(toy.lm(kind))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(value):
    lm = toy.lm("llama")
    lm.model.get_parameter("model.layers.2.mlp.up_proj.weight").data[3, 4] = value
    with pytest.raises(ValueError, match=r"model toy-llama: .* not finite, in model\.layers\.2\.mlp\.up_proj\.weight;"):
        soundness.check(lm)
    for parameter in list(lm.model.parameters())[:7]:
        parameter.data.view(-1)[0] = value
    with pytest.raises(ValueError, match=r"in model\.embed_tokens\.weight, (\S+, ){3}\S+ and 3 more; right is"):
        soundness.check(lm)


def test_an_overflow_in_float16_names_wider_types():
    lm = toy.lm("llama", dtype=torch.float16)
    lm.model.lm_head.weight.data.mul_(3e4)
    assert all(bool(weight.isfinite().all()) for weight in lm.model.parameters())
    with pytest.raises(ValueError, match=r"logits after .* not finite in float16; dtype float32 \(or bfloat16\) has"):
        soundness.check(lm)
    wide = toy.lm("llama", dtype=torch.bfloat16)
    wide.model.lm_head.weight.data.mul_(3e4)
    soundness.check(wide)


def test_logits_that_are_no_numbers_in_float32():
    lm = toy.lm("llama")
    lm.model.lm_head.weight.data.mul_(1e38)
    lm.model.model.norm.weight.data.mul_(1e3)
    with pytest.raises(ValueError, match="are not finite in float32; the checkpoint is broken"):
        soundness.check(lm)
