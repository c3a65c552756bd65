"""What an editor changes, and running many differently edited models as one batch.

Shapes: B rows, T tokens, d values, D keys, r rank, N deltas.
"""

from contextlib import contextmanager
from dataclasses import dataclass

import torch

from engram.hooks import hooked, with_first


@dataclass(frozen=True)
class Delta:
    """An additive low-rank change per layer: W_l += left_l @ right_l.T with left [d, r], right [D, r]; {} is no change."""

    parts: dict[int, tuple[torch.Tensor, torch.Tensor]]

    def dense(self, layer: int) -> torch.Tensor:
        """The change of the value weight of `layer` as a matrix [d, D]."""
        left, right = self.parts[layer]
        return left @ right.T

    def norm(self, layer: int) -> float:
        """Frobenius norm of the change of `layer`."""
        return float(torch.linalg.matrix_norm(self.dense(layer).double()))


NOTHING = Delta({})


@contextmanager
def applied(lm, delta: Delta):
    """The model with `delta` in its weights; the original bytes are back afterwards."""
    saved = {layer: lm.value_weight(layer).clone() for layer in delta.parts}
    try:
        with torch.no_grad():
            for layer in delta.parts:
                lm.value_weight(layer).add_(delta.dense(layer))
        yield lm
    finally:
        with torch.no_grad():
            for layer, weight in saved.items():
                lm.value_weight(layer).copy_(weight)


@contextmanager
def edited(lm, deltas: list[Delta]):
    """A batch in which row i of the input runs through the model edited by `deltas[i]`; shared weights are used once.

    ValueError if the deltas do not all change the same layers with the same rank.
    """
    layers = sorted(deltas[0].parts)
    shapes = {tuple((layer, part[0].shape[1]) for layer, part in sorted(delta.parts.items())) for delta in deltas}
    if len(shapes) != 1:
        raise ValueError(f"deltas of one batch must change the same layers with the same rank, found {sorted(shapes)}")

    def hook_of(layer):
        left = torch.stack([delta.parts[layer][0] for delta in deltas])
        right = torch.stack([delta.parts[layer][1] for delta in deltas])

        def hook(_module, inputs, output):
            change = torch.bmm(torch.bmm(inputs[0], right), left.transpose(1, 2))
            return with_first(output, output + change)
        return hook

    with hooked(*((lm.module("value", layer), hook_of(layer)) for layer in layers)):
        yield lm
