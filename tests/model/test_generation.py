"""Sampling: draws follow the top-k distribution, and texts are spread evenly over batches."""

import pytest
import torch

from engram.model import generation


@pytest.mark.parametrize(("count", "most"), [(1, 320), (2, 1), (640, 320), (641, 320), (2000, 320), (7, 3)])
def test_texts_come_in_an_even_number_of_batches(count, most):
    size = generation._even(count, most)
    assert 1 <= size <= most and (count == 1 or -(-count // size) % 2 == 0)


def test_draws_follow_the_top_k_distribution():
    logits = torch.tensor([[0.0, 2.0, 1.0, -1.0]])
    uniform = torch.linspace(0, 1, 30001)[:-1] + 1 / 60000
    picks = generation._draw(logits.expand(len(uniform), -1), uniform, 2).squeeze(1)
    share = torch.bincount(picks, minlength=4).double() / len(uniform)
    wanted = torch.tensor([2.0, 1.0]).double().softmax(0)
    assert torch.allclose(share[[1, 2]], wanted, atol=1e-3) and share[0] == share[3] == 0
