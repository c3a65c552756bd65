"""The gradient of an edit in its factors: per token the input u and the output gradient v of every edited linear map.

The gradient of a linear weight [out, in] is the sum over tokens of v uT, so it need never be formed.
Shapes: B texts, T tokens, m target tokens, d residual width, r rank of a change; in, out: widths of one linear map.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch

from engram.model import tokens
from engram.model.delta import LINEAR, Delta
from engram.model.hooks import call_until_stop, captured, hooked, resumed
from engram.model.loading import LM

Sides = dict[
    str, tuple[torch.Tensor, torch.Tensor]
]  # by weight name: (u, v) of a gradient, or (left, right) of a change


@dataclass(frozen=True)
class Text:
    """Token ids of a prompt and of the target that follows it."""

    prompt: tuple[int, ...]
    target: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Texts as tensors."""

    ids: torch.Tensor  # [B, T]
    lengths: torch.Tensor  # [B], tokens of each text
    position: torch.Tensor  # [B, m], where each target token is predicted
    target: torch.Tensor  # [B, m]
    weight: torch.Tensor  # [B, m] of a target token in the text's mean; sums to 1 over the target, 0 behind it
    below: torch.Tensor | None  # output [B, T, d] of the last block under the edited ones


def batch_of(lm: LM, texts: list[Text], layers: int) -> Batch:
    """The batch of `texts`, run as far as the last `layers` layers.

    ValueError for a text without a prompt or a target.
    """
    for text in texts:
        if not text.prompt or not text.target:
            raise ValueError(
                f"an edit needs a prompt and a target, found {len(text.prompt)} and {len(text.target)} tokens"
            )
    ids, lengths = tokens.pad([[*text.prompt, *text.target] for text in texts], lm.device)
    most = max(len(text.target) for text in texts)
    fill = [[0] * (most - len(text.target)) for text in texts]  # what is missing behind shorter targets
    position = [
        [*range(len(text.prompt) - 1, len(text.prompt) - 1 + len(text.target)), *row] for text, row in zip(texts, fill)
    ]
    target = [[*text.target, *row] for text, row in zip(texts, fill)]
    weight = [[*[1 / len(text.target)] * len(text.target), *row] for text, row in zip(texts, fill)]
    full = torch.promote_types(lm.model.dtype, torch.float32)
    return Batch(
        ids,
        lengths,
        torch.tensor(position, device=lm.device),
        torch.tensor(target, device=lm.device),
        torch.tensor(weight, dtype=full, device=lm.device),
        below(lm, ids, layers),
    )


def maps(lm: LM, layers: int) -> dict[str, torch.nn.Module]:
    """The edited linear maps, by the name of their weight: all those of the MLPs in the last `layers` layers.

    Two a layer for GPT-2, GPT-J and GPT-NeoX (c_fc and c_proj and their like), three for Llama (gate, up, down).
    """
    if not 1 <= layers <= lm.layers:
        raise ValueError(f"model {lm.name} has {lm.layers} layers: the last {layers} cannot be edited")
    paths = [
        path.format(layer) for layer in range(lm.layers - layers, lm.layers) for path in lm.arch.maps or (lm.arch.mlp,)
    ]
    return {
        f"{name}.weight": module
        for path in paths
        for name, module in lm.model.get_submodule(path).named_modules(prefix=path)
        if isinstance(module, LINEAR)
    }


@torch.no_grad()
def below(lm: LM, ids: torch.Tensor, layers: int) -> torch.Tensor | None:
    """Output [B, T, d] of the last block under the last `layers` layers; None if there is none."""
    if layers == lm.layers:
        return None
    with captured({"block": lm.module("block", lm.layers - layers - 1)}, stop="block") as kept:
        call_until_stop(lm.hidden, ids)
    return kept["block"]


def above(lm: LM, ids: torch.Tensor, start: torch.Tensor | None, layers: int) -> torch.Tensor:
    """Final hidden states [B, T, d] of `ids` [B, T], computed from `start`, what `below` returned for them."""
    with nullcontext() if start is None else resumed(lm, lm.layers - layers - 1, start):
        return lm.hidden(ids)


def logits(lm: LM, hidden: torch.Tensor) -> torch.Tensor:
    """Logits [.., V] of hidden states [.., d], at least in float32."""
    raw = lm.logits(hidden)
    return raw.to(torch.promote_types(raw.dtype, torch.float32))


def losses(lm: LM, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean negative log-likelihood [B] of every text's target tokens (natural log), `hidden` [B, T, d]."""
    rows = torch.arange(len(hidden), device=hidden.device)[:, None]
    read = logits(lm, hidden[rows, batch.position])
    nll = torch.nn.functional.cross_entropy(read.flatten(0, 1), batch.target.flatten(), reduction="none")
    return (nll.view_as(batch.target) * batch.weight).sum(1)


Hook = Callable[[torch.nn.Module, tuple[torch.Tensor, ...], torch.Tensor], torch.Tensor]


def factors(lm: LM, edited: dict[str, torch.nn.Module], batch: Batch, layers: int) -> Sides:
    """The factors {name: (u [B, T, in], v [B, T, out])} of the gradient of every text, in the order of `edited`.

    d loss_b / d W is the sum over t of v_bt u_btT.
    """
    inputs: dict[str, torch.Tensor] = {}
    probes: dict[str, torch.Tensor] = {}

    def probe(name: str) -> Hook:
        def hook(_module: torch.nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            inputs[name] = given[0].detach()
            probes[name] = torch.zeros_like(output, requires_grad=True)
            return output + probes[name]

        return hook

    with torch.enable_grad(), hooked(*((module, probe(name)) for name, module in edited.items())):
        loss = losses(lm, above(lm, batch.ids, batch.below, layers), batch).sum()
        slopes = torch.autograd.grad(loss, [probes[name] for name in edited])
    return {name: (inputs[name], slope) for name, slope in zip(edited, slopes)}


@contextmanager
def changed(edited: dict[str, torch.nn.Module], changes: Sides) -> Iterator[None]:
    """During the block, row b of a batch runs with W + left_bT right_b.

    `changes` are {name: (left [B, r, out], right [B, r, in])}.

    Gradients reach left and right (engram.model.delta.edited takes finished deltas, one per row).
    """

    def adding(left: torch.Tensor, right: torch.Tensor) -> Hook:
        return lambda _module, given, output: output + torch.bmm(torch.bmm(given[0], right.transpose(1, 2)), left)

    with hooked(*((module, adding(*changes[name])) for name, module in edited.items())):
        yield


class Sum:
    """The sum of the changes of many texts; dense where that is smaller."""

    def __init__(self) -> None:
        self.parts: dict[int | str, tuple[torch.Tensor, torch.Tensor] | torch.Tensor] = {}

    def add(self, changes: Sides, scale: float) -> None:
        """Add scale * left_bT right_b of every text b; `changes` are {name: (left [B, r, out], right [B, r, in])}."""
        for name, (left, right) in changes.items():
            left, right = left.flatten(0, 1), right.flatten(0, 1)
            used = left.any(1) & right.any(1)  # padding is zero
            left, right = scale * left[used].T, right[used].T
            old = self.parts.get(name)
            if isinstance(old, tuple):
                left, right = torch.cat([old[0], left], 1), torch.cat([old[1], right], 1)
            part: tuple[torch.Tensor, torch.Tensor] | torch.Tensor = (left, right)
            if left.shape[1] * (len(left) + len(right)) >= len(left) * len(right) or isinstance(old, torch.Tensor):
                part = left @ right.T + (old if isinstance(old, torch.Tensor) else 0)
            self.parts[name] = part

    def delta(self) -> Delta:
        """The sum so far as a change of the model's weights [out, in]."""
        return Delta(dict(self.parts))
