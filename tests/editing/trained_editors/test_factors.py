"""Gradients as factors: each row pair multiplied out is what autograd gives."""

import copy

import pytest
import torch

import toy
from engram.editing.trained_editors import factors
from engram.model import block_parts
from engram.model.delta import place
from hypernets import FACTS, close, slopes, texts_of


@pytest.mark.parametrize("kind", toy.ARCHITECTURES)
@pytest.mark.parametrize("layers", [1, 3, toy.LAYERS])
def test_factors_are_those_of_the_gradient(kind, layers):
    """Sum over tokens of v uT is autograd's gradient, for texts of different lengths in one batch."""
    lm = toy.lm(kind)
    texts = texts_of(lm, FACTS)
    batch = factors.batch_of(lm, texts, layers)
    found = factors.factors(lm, factors.maps(lm, layers), batch, layers)
    assert len(found) == layers * (3 if block_parts.parts_of(lm).gated and kind != "phi3" else 2)
    for row, text in enumerate(texts):
        for name, wanted in slopes(lm, layers, text).items():
            u, v = (side[row] for side in found[name])
            assert close(v.T @ u, wanted), name
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())


def test_a_changed_row_is_a_changed_model():
    """Row b of a batch under `changed` is the model with W + left_bT right_b, and gradients flow into both sides."""
    lm = toy.lm("gpt2")
    edited = factors.maps(lm, 2)
    ids = torch.randint(0, 300, (2, 7), generator=torch.Generator().manual_seed(0))
    changes = {
        name: tuple((0.1 * torch.randn(2, 3, size)).requires_grad_() for size in place(lm, name).weight.shape)
        for name in edited
    }
    with factors.changed(edited, changes):
        batched = factors.above(lm, ids, factors.below(lm, ids, 2), 2)
    assert all(side.grad is None for sides in changes.values() for side in sides)
    batched.sum().backward()
    assert all(side.grad.any() for sides in changes.values() for side in sides)
    for row in range(2):
        one = copy.deepcopy(lm.model)
        for name, (left, right) in changes.items():
            one.get_parameter(name).data += (left[row].T @ right[row]).T.detach()
        assert torch.allclose(one.transformer(ids[row][None]).last_hidden_state, batched[row], atol=1e-4)
