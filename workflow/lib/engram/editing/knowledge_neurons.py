"""Knowledge neurons: the neurons of the MLPs that a next token rests on, by integrated gradients (ROME App. E.2).

PAPER: Dai et al. 2022. A neuron is an input of an MLP's last projection. Its score says how the probability of some
tokens grows while the activations of its layer at the last prompt token go from nothing to what they are. What is done
with the neurons is engram.methods.kn. Only that token changes, so the keys and values of the tokens
before it are computed once. The points of all layers form one growing batch: a layer's rows join it where they begin to
differ.

Shapes: T prompt tokens, L layers, D neurons of a layer, P points, R rows, H heads, k width of a head, d width.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from engram.model import tokens
from engram.model.adapters import Adapter
from engram.model.halving import ChunkLimit, halving
from engram.model.hooks import captured
from engram.model.loading import LM

Neuron = tuple[int, int]  # layer, index within the layer


@dataclass(frozen=True)
class Prompt:
    """What one run of a prompt leaves for scores of its neurons; every list has one entry per layer."""

    adapter: Adapter
    activations: list[torch.Tensor]  # [D] at the last token
    attended: list[torch.Tensor]  # [1, d] there: what the MLP's result is added to
    keys: list[torch.Tensor]  # [H, T - 1, k] of the tokens before
    values: list[torch.Tensor]
    predicted: int  # the most probable next token


@torch.no_grad()
def read(lm: LM, text: str) -> Prompt:
    """Run the prompt `text` and keep what its neurons' scores are made of."""
    ids = tokens.prompt(lm.tokenizer, text)
    adapter = Adapter(lm, len(ids))
    kept: dict[str, list[torch.Tensor]] = {"activations": [], "attended": [], "keys": [], "values": []}
    x = adapter.enter(adapter.embed(torch.tensor([ids], device=lm.device)))
    for layer in range(lm.layers):
        q, k, v = adapter.heads(layer, x, 0)
        attended = adapter.add(layer, "attn", x, adapter.attention(layer, q, k, v))
        with captured({"value": lm.module("value", layer)}, "input") as inputs:
            x = adapter.add(layer, "mlp", attended, adapter.mlp(layer, x, attended))
        kept["activations"].append(inputs["value"].flatten(0, -2)[-1].clone())
        kept["attended"].append(attended[0, -1:])
        kept["keys"].append(k[0, :, :-1].float() if adapter.parts.attention_float32 else k[0, :, :-1])
        kept["values"].append(v[0, :, :-1])
    return Prompt(adapter, **kept, predicted=int(_logits(lm, x[0, -1]).argmax()))


def scores(
    prompt: Prompt, targets: list[int], points: int, batch: int | None = None, room: ChunkLimit | None = None
) -> torch.Tensor:
    """Score [L, D] of every neuron for the mean probability of the tokens `targets`, all read right after the prompt.

    It is the activation times the mean gradient at `points` equally spaced parts of it from 0 to 1, both included.
    `batch` points are computed at a time (None: all), fewer where memory runs out; `room` remembers how many.
    ValueError for fewer than two points, or no target.
    """
    if points < 2 or not targets:
        raise ValueError(f"{points} points and {len(targets)} answer tokens: at least 2 and 1 are needed")
    shares = torch.linspace(0, 1, points, dtype=torch.float64).tolist()
    parts: Iterator[torch.Tensor] = halving(
        lambda part: _slopes(prompt, part, targets), shares, batch or points, "point", room
    )
    return torch.stack(prompt.activations) * sum(parts) / points


@torch.enable_grad()
def _slopes(prompt: Prompt, shares: Sequence[float], targets: list[int]) -> torch.Tensor:
    """Sum over the points `shares` of the activations of d p / d activation, [L, D]."""
    adapter, lm = prompt.adapter, prompt.adapter.lm
    leaves: list[torch.Tensor] = []
    x: torch.Tensor | None = None
    for layer, activation in enumerate(prompt.activations):
        if x is not None:
            attended = adapter.add(
                layer, "attn", x, _attention(prompt, layer, *adapter.heads(layer, x, adapter.length - 1))
            )
            normed = adapter.normed(layer, "mlp", x if adapter.parallel else attended)
            x = adapter.add(layer, "mlp", attended, adapter.plain_mlp(layer, normed))
        leaf = (activation.new_tensor(shares)[:, None, None] * activation).requires_grad_()
        begun = adapter.add(layer, "mlp", prompt.attended[layer], lm.module("value", layer)(leaf))
        x = begun if x is None else torch.cat((x, begun))
        leaves.append(leaf)
    assert x is not None  # a model has layers
    chance = _logits(lm, x[:, 0]).softmax(-1)[:, targets].mean(-1)
    return torch.stack([slope.sum((0, 1)) for slope in torch.autograd.grad(chance.sum(), leaves)])


def _attention(prompt: Prompt, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The attention module's output [R, 1, d] at the last token, for rows that share all tokens before it.

    q, k and v [R, H, 1, k] are those of the last token.
    """
    keys, values, parts = prompt.keys[layer], prompt.values[layer], prompt.adapter.parts
    attn = prompt.adapter.lm.module("attn", layer)
    q, k = q.to(keys.dtype) * parts.scale(attn), k.to(keys.dtype)
    logits = torch.cat((torch.einsum("rhnk,htk->rhnt", q, keys), (q * k).sum(-1, keepdim=True)), -1)
    cap = parts.cap(attn)
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    weights = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1).to(values.dtype)
    mixed = torch.einsum("rhnt,htk->rhnk", weights[..., :-1], values) + weights[..., -1:] * v
    return getattr(attn, parts.out)(mixed.transpose(1, 2).flatten(-2))


def _logits(lm: LM, x: torch.Tensor) -> torch.Tensor:
    """Logits [.., V] of what the last block returned [.., d], at least in float32."""
    logits = lm.logits(lm.final(x))
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def direction(prompt: Prompt, neuron: Neuron) -> float:
    """-1 where the neuron takes away what its value row holds, else 1.

    It takes away where its activation at the last token is negative in a gated MLP; elsewhere activations count as
    positive.
    """
    if not prompt.adapter.parts.gated:
        return 1.0
    return -1.0 if prompt.activations[neuron[0]][neuron[1]] < 0 else 1.0


def above_threshold(scores: torch.Tensor, threshold: float) -> list[Neuron]:
    """The neurons whose score in `scores` [L, D] is more than `threshold` times the highest.

    There is none where no score is above zero.
    """
    highest = scores.max()
    return [(layer, index) for layer, index in (scores > threshold * highest).nonzero().tolist()] if highest > 0 else []


def shared(selections: list[list[Neuron]], share: float) -> list[Neuron]:
    """The neurons that are in more than `share` of the selections, in order."""
    counts = Counter(neuron for selection in selections for neuron in selection)
    return sorted(neuron for neuron, count in counts.items() if count > share * len(selections))
