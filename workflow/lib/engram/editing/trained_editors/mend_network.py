"""MEND: a network that rewrites the factors of the gradient of an edit (Mitchell et al. 2022).

Shapes: B texts, T tokens, N tokens with a gradient, w = in + out; in, out: widths of one linear map.
"""

from typing import Any

import torch
from torch import nn

from engram.editing.trained_editors.factors import Batch, Sides
from engram.settings.trained_editors import MendNetwork as Network


class Statistics(nn.Module):
    """Running mean and standard deviation of vectors [w] (Welford, merged batch by batch).

    They are 0 and 1 until two vectors were seen.
    """

    count: torch.Tensor
    mean: torch.Tensor
    square: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("square", torch.zeros(width, dtype=torch.float64))  # sum of squared deviations

    @torch.no_grad()
    def update(self, x: torch.Tensor) -> None:
        """Take the vectors `x` [N, w] into the statistics."""
        if not len(x):
            return
        x = x.double()
        count, mean = self.count + len(x), x.mean(0)
        apart = mean - self.mean
        self.square += ((x - mean) ** 2).sum(0) + apart**2 * self.count * len(x) / count
        self.mean += apart * len(x) / count
        self.count.copy_(count)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The vectors x [N, w], centred and scaled."""
        if self.count < 2:
            return x
        spread = (self.square / (self.count - 1)).sqrt() + 1e-7
        return ((x - self.mean) / spread).to(x.dtype)


class Layer(nn.Module):
    """A layer of the network: x + relu(scale * (up down x + bias) + offset), the identity at the start.

    `modes` weights of the model share it, each with a scale and an offset of its own.
    """

    def __init__(self, width: int, rank: int, modes: int, relu: bool) -> None:
        super().__init__()
        rank, self.relu = min(rank, width), relu
        self.down = nn.Parameter(torch.randn(rank, width))
        self.up = nn.Parameter(torch.zeros(width, rank))
        self.bias = nn.Parameter(torch.zeros(width))
        self.scale = nn.Parameter(torch.ones(modes, width))
        self.offset = nn.Parameter(torch.zeros(modes, width))

    def forward(self, x: torch.Tensor, mode: int) -> torch.Tensor:
        """The vectors x [N, w] of the model's weight number `mode`, rewritten."""
        inner = (x @ self.down.T) @ self.up.T + self.bias
        inner = inner * self.scale[mode] + self.offset[mode]
        return x + (inner.clamp(min=0) if self.relu else inner)  # clamp: its slope at 0, where all starts, is 1


class Shared(nn.Module):
    """The network of all weights of one shape: u and v, side by side and normalised, through layers of their width."""

    def __init__(self, width: int, modes: int, settings: Network) -> None:
        super().__init__()
        self.statistics = Statistics(width)
        self.layers = nn.ModuleList(
            Layer(width, settings.rank, modes, relu=i < settings.hidden_layers)
            for i in range(settings.hidden_layers + 1)
        )

    def forward(self, u: torch.Tensor, v: torch.Tensor, mode: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The factors u [B, T, in] and v [B, T, out] of weight number `mode`, rewritten; zero where there is none."""
        has = u.any(-1) & v.any(-1)
        x = torch.cat([u, v], -1)[has]
        if self.training:
            self.statistics.update(x)
        x = self.statistics(x)
        for layer in self.layers:
            x = layer(x, mode)
        out = x.new_zeros(*u.shape[:2], x.shape[-1]).masked_scatter(has[..., None], x)
        return out.split([u.shape[-1], v.shape[-1]], -1)


class Net(nn.Module):
    """MEND's networks for weights of `shapes` {name: (out, in)}, one network per shape."""

    kind = "mend"

    def __init__(self, shapes: dict[str, tuple[int, int]], settings: Network) -> None:
        super().__init__()
        self.shapes, self.settings = dict(shapes), settings
        groups: dict[str, list[str]] = {}
        for name, (out, into) in shapes.items():
            groups.setdefault(f"{into}x{out}", []).append(name)
        self.place = {name: (group, mode) for group, names in groups.items() for mode, name in enumerate(names)}
        self.nets = nn.ModuleDict(
            {group: Shared(sum(shapes[names[0]]), len(names), settings) for group, names in groups.items()}
        )
        self.rates = nn.Parameter(torch.full((len(shapes),), settings.edit_rate))

    def forward(self, batch: Batch, factors: Sides) -> Sides:
        """The change of every text: {name: (left [B, T, out], right [B, T, in])}, W += sum over t of left right T.

        PAPER: MEND, W -= rate * v~ u~T; with an untrained network a step of `rate` down the gradient. DIFFERS: the
        published rates are added, so they come with the other sign.
        """
        changes = {}
        for rate, name in zip(self.rates, self.shapes):
            group, mode = self.place[name]
            u, v = self.nets[group](*(x.float() for x in factors[name]), mode)
            changes[name] = (-rate * v, u)
        return changes

    def groups(self, rate: float, edit_rate: float) -> list[dict[str, Any]]:
        """Parameters with their learning rates as Adam takes them: `rate` of the networks, `edit_rate` of the rates."""
        return [{"params": list(self.nets.parameters()), "lr": rate}, {"params": [self.rates], "lr": edit_rate}]
