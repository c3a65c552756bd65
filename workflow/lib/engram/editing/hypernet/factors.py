"""The gradient of an edit in its factors: per token the input u and the output gradient v of every edited linear map.

The gradient of a linear weight [out, in] is the sum over tokens of v uT, so it need never be formed.
Shapes: B texts, T tokens, m target tokens, d residual width, r rank of a change; in, out: widths of one linear map.
"""

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch

from engram.model import tokens
from engram.model.delta import LINEAR, Delta
from engram.model.hooks import call_until_stop, captured, hooked, resumed


@dataclass(frozen=True)
class Text:
    """Token ids of a prompt and of the target that follows it."""

    prompt: tuple[int, ...]
    target: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Texts as tensors: what is read, and where which target token is predicted with which weight in the text's
    mean.
    """

    ids: torch.Tensor  # [B, T]
    lengths: torch.Tensor  # [B]
    position: torch.Tensor  # [B, m]
    wanted: torch.Tensor  # [B, m]
    weight: torch.Tensor  # [B, m]; sums to 1 over the target, 0 behind it
    below: torch.Tensor | None  # output [B, T, d] of the last block under the edited ones


def batch_of(lm, texts: list[Text], layers: int) -> Batch:
    """The batch of `texts`, computed up to the last `layers` layers. ValueError for a text without a prompt or a
    target.
    """
    for text in texts:
        if not text.prompt or not text.target:
            raise ValueError(
                f"an edit needs a prompt and a target, found {len(text.prompt)} and {len(text.target)} tokens"
            )
    ids, lengths = tokens.pad([[*text.prompt, *text.target] for text in texts], lm.device)
    most = max(len(text.target) for text in texts)
    rows = [[0] * (most - len(text.target)) for text in texts]  # what is missing behind shorter targets
    position = [
        [*range(len(text.prompt) - 1, len(text.prompt) - 1 + len(text.target)), *row] for text, row in zip(texts, rows)
    ]
    wanted = [[*text.target, *row] for text, row in zip(texts, rows)]
    weight = [[1 / len(text.target)] * len(text.target) + row for text, row in zip(texts, rows)]
    full = torch.promote_types(lm.model.dtype, torch.float32)
    return Batch(
        ids,
        lengths,
        *(torch.tensor(x, device=lm.device) for x in (position, wanted)),
        torch.tensor(weight, dtype=full, device=lm.device),
        below(lm, ids, layers),
    )


def maps(lm, layers: int) -> dict[str, torch.nn.Module]:
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
def below(lm, ids: torch.Tensor, layers: int) -> torch.Tensor | None:
    """Output [B, T, d] of the last block under the last `layers` layers; None if there is none."""
    if layers == lm.layers:
        return None
    with captured({"block": lm.module("block", lm.layers - layers - 1)}, stop="block") as kept:
        call_until_stop(lm.hidden, ids)
    return kept["block"]


def above(lm, ids: torch.Tensor, start: torch.Tensor | None, layers: int) -> torch.Tensor:
    """Final hidden states [B, T, d] of `ids` [B, T], of which `start` is what `below` found: the rest is computed."""
    with nullcontext() if start is None else resumed(lm, lm.layers - layers - 1, start):
        return lm.hidden(ids)


def logits(lm, hidden: torch.Tensor) -> torch.Tensor:
    """Logits [.., V] of hidden states [.., d], at least in float32."""
    found = lm.logits(hidden)
    return found.to(torch.promote_types(found.dtype, torch.float32))


def losses(lm, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean negative log-likelihood [B] of every text's target tokens (natural log), `hidden` [B, T, d]."""
    rows = torch.arange(len(hidden), device=hidden.device)[:, None]
    found = logits(lm, hidden[rows, batch.position])
    nll = torch.nn.functional.cross_entropy(found.flatten(0, 1), batch.wanted.flatten(), reduction="none")
    return (nll.view_as(batch.wanted) * batch.weight).sum(1)


def factors(lm, edited: dict[str, torch.nn.Module], batch: Batch, layers: int) -> dict[str, tuple]:
    """{name: (u [B, T, in], v [B, T, out])} in the order of `edited`, so that d loss_b / d W = sum over t of v_bt
    u_btT.
    """
    inputs, probes = {}, {}

    def probe(name):
        def hook(_module, given, output):
            inputs[name] = given[0].detach()
            probes[name] = torch.zeros_like(output, requires_grad=True)
            return output + probes[name]

        return hook

    with torch.enable_grad(), hooked(*((module, probe(name)) for name, module in edited.items())):
        loss = losses(lm, above(lm, batch.ids, batch.below, layers), batch).sum()
        slopes = torch.autograd.grad(loss, [probes[name] for name in edited])
    return {name: (inputs[name], slope) for name, slope in zip(edited, slopes)}


@contextmanager
def changed(edited: dict[str, torch.nn.Module], changes: dict[str, tuple]):
    """Row b of a batch runs with W + left_bT right_b for `changes` {name: (left [B, r, out], right [B, r, in])}.

    Gradients reach left and right (engram.model.delta.edited takes finished deltas, one per row).
    """

    def adding(left, right):
        return lambda _module, given, output: output + torch.bmm(torch.bmm(given[0], right.transpose(1, 2)), left)

    with hooked(*((module, adding(*changes[name])) for name, module in edited.items())):
        yield


class Sum:
    """The sum of the changes of many texts; dense where that is smaller."""

    def __init__(self):
        self.parts: dict[str, tuple | torch.Tensor] = {}

    def add(self, changes: dict[str, tuple], scale: float) -> None:
        """Add scale * left_bT right_b of every text b, `changes` as for `changed`."""
        for name, (left, right) in changes.items():
            left, right = left.flatten(0, 1), right.flatten(0, 1)
            used = left.any(1) & right.any(1)  # padding is zero
            left, right = scale * left[used].T, right[used].T
            old = self.parts.get(name)
            if isinstance(old, tuple):
                left, right = torch.cat([old[0], left], 1), torch.cat([old[1], right], 1)
            part = (left, right)
            if left.shape[1] * (len(left) + len(right)) >= len(left) * len(right) or isinstance(old, torch.Tensor):
                part = left @ right.T + (old if isinstance(old, torch.Tensor) else 0)
            self.parts[name] = part

    def delta(self) -> Delta:
        return Delta(dict(self.parts))
