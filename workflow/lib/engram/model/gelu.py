"""tanh-GELU as x · sigmoid(2 z): on a CPU a sigmoid is several times faster than a tanh.

(1 + tanh z) / 2 = sigmoid(2 z) with z = sqrt(2 / pi) (x + 0.044715 x³).
"""

import math

import torch

_LINEAR = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715 * _LINEAR


def gate(x: torch.Tensor) -> torch.Tensor:
    """sigmoid(2 z) of x, any shape."""
    return torch.addcmul(x.new_tensor(_LINEAR), x, x, value=_CUBIC).mul_(x).sigmoid_()


def slope(x: torch.Tensor, gated: torch.Tensor) -> torch.Tensor:
    """d/dx of x · gate(x), from x and `gated` = gate(x): g + x g (1 - g) 2 z'."""
    found = torch.addcmul(x.new_tensor(_LINEAR), x, x, value=3 * _CUBIC).mul_(x)  # 2 z'(x) · x
    return found.addcmul_(found, gated, value=-1).add_(1).mul_(gated)
