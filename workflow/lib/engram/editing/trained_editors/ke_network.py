"""KE: a one-shot learner that scales, shifts and gates the gradient of an edit after reading it (De Cao et al. 2021).

Shapes: B texts, T tokens, V vocabulary, e embedding, h hidden, c condition; in, out: widths of one linear map.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.rnn import pack_padded_sequence

from engram.editing.trained_editors.factors import Batch, Sides
from engram.settings.trained_editors import KeNetwork as Network


class Reader(nn.Module):
    """Reads the text of an edit: a bidirectional LSTM, and one tanh layer on its two last states."""

    def __init__(self, vocabulary: int, embedding: int, settings: Network) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, settings.hidden, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(2 * settings.hidden, settings.condition)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The condition [B, c] of texts [B, T] of `lengths` [B] tokens."""
        packed = pack_padded_sequence(self.embedding(ids), lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (state, _) = self.lstm(packed)  # [2, B, h]
        return self.linear(state.transpose(0, 1).flatten(1)).tanh()


class Conditioner(nn.Sequential):
    """The condition [B, c] -> scale, shift and gate of one weight, as one vector [B, 2 (in + out) + 1]."""

    def __init__(self, out: int, into: int, settings: Network) -> None:
        super().__init__(
            weight_norm(nn.Linear(settings.condition, settings.hidden)),
            nn.Tanh(),
            weight_norm(nn.Linear(settings.hidden, 2 * (out + into) + 1)),
        )
        self.widths = [out, into, out, into, 1]


class Net(nn.Module):
    """KE's learner for weights of `shapes` {name: (out, in)}.

    `vocabulary` and `embedding` are the entries and the width of its own embedding.
    """

    kind = "ke"

    def __init__(self, shapes: dict[str, tuple[int, int]], settings: Network, vocabulary: int, embedding: int) -> None:
        super().__init__()
        self.shapes, self.settings = dict(shapes), settings
        self.reader = Reader(vocabulary, embedding, settings)
        self.conditioners = nn.ModuleDict({slot(name): Conditioner(*shape, settings) for name, shape in shapes.items()})

    def forward(self, batch: Batch, factors: Sides) -> Sides:
        """The change of every text: {name: (left [B, T + 1, out], right [B, T + 1, in])}, W += sum of left right T.

        PAPER: KE, W += max_scale * gate * (G * a + b), elementwise, with a = linear (x) softmax, b alike: the softmax
        runs over the inputs. G * a keeps the factors of G, each scaled, and b is one factor more.
        """
        condition, changes = self.reader(batch.ids, batch.lengths), {}
        for name in self.shapes:
            conditioner: Any = self.conditioners[slot(name)]
            out_a, in_a, out_b, in_b, gate = conditioner(condition)[:, None].split(conditioner.widths, -1)  # [B, 1, *]
            u, v = (x.float() for x in factors[name])
            left = torch.cat([v * out_a, out_b], 1) * (self.settings.max_scale * gate.sigmoid())
            changes[name] = (left, torch.cat([u * in_a.softmax(-1), in_b.softmax(-1)], 1))
        return changes

    def groups(self, rate: float, edit_rate: float) -> list[dict[str, Any]]:
        """All parameters with their learning rate, `rate`, as Adam takes them; KE learns no rate of edits."""
        return [{"params": list(self.parameters()), "lr": rate}]


def slot(name: str) -> str:
    """The name of a weight as the name of a module, which holds no dots."""
    return name.replace(".", "_")
