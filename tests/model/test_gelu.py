"""tanh-GELU by way of a sigmoid: its value and its slope against torch's."""

import torch

from engram.model import gelu


def test_value_and_slope_are_those_of_tanh_gelu():
    x = torch.linspace(-9, 9, 1001, dtype=torch.float64, requires_grad=True)
    wanted = torch.nn.functional.gelu(x, approximate="tanh")
    (slope,) = torch.autograd.grad(wanted.sum(), x)
    with torch.no_grad():
        gated = gelu.gate(x)
        assert torch.allclose(x * gated, wanted, atol=1e-14)
        assert torch.allclose(gelu.slope(x, gated), slope, atol=1e-13)
