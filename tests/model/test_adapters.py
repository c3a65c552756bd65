"""Adapters run a block piece by piece; texts longer than attention or positions allow are refused."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import toy
from engram.model import adapters, block_parts, loading
from engram.tracing import causal_trace
from toy import loaded
from traced_prompts import CONFIG, NOISE, table_of


@pytest.mark.parametrize("kind", ["mistral", "gemma2", "gemma3_text"])
def test_a_text_that_attention_does_not_look_back_on_is_refused(kind):
    model = loaded(kind)
    assert block_parts.longest_text(model) == toy.WINDOW
    with pytest.raises(
        ValueError, match=f"a prompt of 49 tokens, but some of its layers look back {toy.WINDOW} tokens at most"
    ):
        adapters.Adapter(model, toy.WINDOW + 1)
    adapters.Adapter(model, toy.WINDOW)


def test_positions_that_are_turned_by_length(tmp_path):
    """Phi 3's rotations change for all of a text that is longer than the original ones."""
    made = toy.lm("phi3").model.config.to_dict() | {
        "original_max_position_embeddings": 32,
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 1.0,
            "original_max_position_embeddings": 32,
            "short_factor": [1.0, 1.5, 2.0, 2.5],
            "long_factor": [4.0] * 4,
        },
    }
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**made))
    model.save_pretrained(tmp_path)
    toy.tokenizer("phi3").save_pretrained(tmp_path)
    lm = loading.load("long", tmp_path)
    ids = torch.randint(3, 200, (2, 32), generator=torch.Generator().manual_seed(0))
    adapter = adapters.Adapter(lm, 32)
    with torch.no_grad():
        x = adapter.enter(adapter.embed(ids))
        for layer in range(lm.layers):
            attended = adapter.add(layer, "attn", x, adapter.attention(layer, *adapter.heads(layer, x, 0)))
            x = adapter.add(layer, "mlp", attended, adapter.mlp(layer, x, attended))
        assert torch.allclose(lm.logits(lm.final(x)), lm.model(ids).logits, atol=1e-5)
    causal_trace.trace(lm, table_of(lm), NOISE, replace(CONFIG, samples=2), 2, 0)
    with pytest.raises(ValueError, match=r"a prompt of 33 tokens.* turn positions differently from there on"):
        adapters.Adapter(lm, 33)
