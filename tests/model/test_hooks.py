"""Hooks: a forward resumed after a block is the full forward."""

import pytest
import torch

from engram.model.hooks import captured, resumed
from toy import lm


@pytest.mark.parametrize("kind", ["gpt2", "gptj", "gpt_neox", "llama"])
def test_resuming_after_a_block_is_the_full_forward(kind):
    model, ids = lm(kind), torch.randint(1, 300, (3, 9), generator=torch.Generator().manual_seed(0))
    for layer in range(model.layers):
        with captured({"block": model.module("block", layer)}) as kept, torch.no_grad():
            full = model.hidden(ids)
        with resumed(model, layer, kept["block"]), torch.no_grad():
            assert torch.equal(model.hidden(torch.zeros_like(ids)), full)
    with torch.no_grad():
        assert torch.equal(model.hidden(ids), full), "the model must be as before"
