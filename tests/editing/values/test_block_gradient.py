"""The pieces of a block's gradient against autograd."""

import pytest
import torch

from engram.editing.values import block_gradient

NORM, LINEAR = torch.nn.LayerNorm(6).double(), torch.nn.Linear(6, 5).double()
PIECES = {
    "gelu": (block_gradient.tanh_gelu, lambda x: torch.nn.functional.gelu(x, approximate="tanh")),
    "norm": (lambda x: block_gradient.norm(NORM, x), lambda x: NORM(x)),
    "linear": (lambda x: block_gradient.linear(LINEAR, x), lambda x: LINEAR(x)),
    "autograd": (lambda x: block_gradient.by_autograd(torch.sin, x), torch.sin),
    "at": (lambda x: block_gradient.at(x, READS), lambda x: x[torch.arange(3)[:, None], READS]),
    "chain": (
        lambda x: block_gradient.chain(x, block_gradient.tanh_gelu, lambda x: block_gradient.linear(LINEAR, x)),
        lambda x: LINEAR(torch.nn.functional.gelu(x, approximate="tanh")),
    ),
}


READS = torch.tensor([[0, 3], [2, 2], [1, 0]])


@pytest.mark.parametrize("name", PIECES)
def test_every_piece_pulls_back_what_autograd_does(name):
    fast, plain = PIECES[name]
    generator = torch.Generator().manual_seed(0)
    x = (2 * torch.randn(3, 4, 6, generator=generator, dtype=torch.float64)).requires_grad_()
    found = block_gradient.Pulled.apply(x, fast)
    towards = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    wanted = plain(x)
    assert torch.allclose(found, wanted, atol=1e-12)
    slopes = [torch.autograd.grad((y * towards).sum(), x)[0] for y in (found, wanted)]
    assert torch.allclose(*slopes, atol=1e-12)
