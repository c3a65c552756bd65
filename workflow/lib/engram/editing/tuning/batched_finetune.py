"""Fine-tuning on many single facts at once: every row of a batch has weights of its own (ROME App. E.1).

What `finetune.tune` does for one fact after the other, for linear maps: the rows share all but the tuned weights, and
as Adam works on each number by itself, one Adam over the stack of weights is one per fact. A fact that is done leaves
the batch. Shapes: F facts, B facts left, T tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from engram.editing.facts import Fact
from engram.editing.tuning import finetune
from engram.editing.tuning.finetune import Settings
from engram.model.delta import LINEAR, Delta, Place, place
from engram.model.halving import halving
from engram.model.loading import LM


def tune_each(lm: LM, facts: list[Fact], names: list[str], settings: Settings) -> list[Delta]:
    """For every fact the change that `finetune.tune` makes of the parameters `names` for it alone.

    `settings.side_by_side` facts are tuned at a time, fewer where memory runs out.
    ValueError if one of the parameters `names` does not belong to a linear map.
    """
    places = [place(lm, name) for name in names]
    other = [spot.name for spot in places if not isinstance(spot.module, LINEAR)]
    if other:
        raise ValueError(
            f"{other[0]} of {lm.name} does not belong to a linear map: facts are tuned one after the other there"
        )
    return [
        delta
        for deltas in halving(lambda chunk: _tune(lm, chunk, places, settings), facts, settings.side_by_side, "fact")
        for delta in deltas
    ]


@torch.enable_grad()
def _tune(lm: LM, facts: Sequence[Fact], places: list[Place], settings: Settings) -> list[Delta]:
    """The changes for a few facts, in their order, tuned in one batch."""
    batch, left = finetune.batch_of(lm, facts, settings), list(range(len(facts)))
    before = [getattr(spot.module, spot.attribute).detach() for spot in places]
    leaves = [old.expand(len(facts), *old.shape).clone().requires_grad_() for old in before]
    optimiser = torch.optim.Adam(leaves, lr=settings.rate, weight_decay=settings.decay(1))
    deltas: dict[int, Delta] = {}

    def leave(rows: list[int]) -> None:
        for row in rows:
            deltas[left[row]] = finetune.delta_of(
                lm, places, [leaf.detach()[row] - old for leaf, old in zip(leaves, before)], settings
            )

    for _ in range(settings.steps):
        with _own_weights(places, leaves):
            losses = batch.losses(lm, settings.layer)
            done = (losses < settings.stop_loss).tolist()
            if not all(done):
                slopes = torch.autograd.grad(losses.sum(), leaves)
        leave([row for row, over in enumerate(done) if over])
        keep = [row for row, over in enumerate(done) if not over]
        if not keep:
            break
        if len(keep) < len(left):
            batch, left, slopes = batch.select(keep), [left[row] for row in keep], tuple(s[keep] for s in slopes)
            leaves, optimiser = _select(leaves, optimiser, keep)
        for leaf, slope in zip(leaves, slopes):
            leaf.grad = slope
        optimiser.step()
        finetune.clamp(leaves, before, settings.epsilon)
    else:
        leave(list(range(len(left))))
    return [deltas[fact] for fact in range(len(facts))]


def _select(
    leaves: list[torch.Tensor], optimiser: torch.optim.Adam, keep: list[int]
) -> tuple[list[torch.Tensor], torch.optim.Adam]:
    """The weights of the rows `keep`, and an Adam that goes on with them where `optimiser` was."""
    fewer = [leaf.detach()[keep].requires_grad_() for leaf in leaves]
    going = torch.optim.Adam(fewer, **{name: optimiser.defaults[name] for name in ("lr", "weight_decay")})
    for old, new in zip(leaves, fewer):
        going.state[new] = {name: value[keep] if value.ndim else value for name, value in optimiser.state[old].items()}
    return fewer, going


@contextmanager
def _own_weights(places: list[Place], leaves: list[torch.Tensor]) -> Iterator[None]:
    """During the block, row i of the input [B, T, in] of the linear maps `places` meets the weights `leaf[i]`."""
    modules: dict[Any, dict[str, torch.Tensor]] = {}
    before: dict[Any, Any] = {}
    for spot, leaf in zip(places, leaves):
        turned = spot.attribute == "weight" and spot.weight is spot.module.weight
        modules.setdefault(spot.module, {})[spot.attribute] = leaf.transpose(1, 2) if turned else leaf
    try:
        for module, own in modules.items():
            before[module] = vars(module).get("forward")  # that of a model spread over devices
            module.forward = _linear_map(own["weight"], own.get("bias"))
        yield
    finally:
        for module, forward in before.items():
            vars(module).pop("forward", None)
            vars(module).update({"forward": forward} if forward else {})


def _linear_map(weight: torch.Tensor, bias: torch.Tensor | None) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function from [B, T, in] to [B, T, out] with a weight [B, in, out] and a bias [B, out] for every row."""
    if bias is None:
        return lambda x: torch.bmm(x.to(weight.device), weight).to(x.device)
    return lambda x: torch.baddbmm(bias[:, None], x.to(weight.device), weight).to(x.device)
