"""Fine-tuning on many single facts at once: every row of a batch has weights of its own (ROME App. E.1).

What `finetune.tune` does for one fact after the other, for linear maps: the rows share all but the tuned weights, and
as Adam works on each number by itself, one Adam over the stack of weights is one per fact. A fact that is done leaves
the batch. Shapes: F facts, B facts left, T tokens.
"""

from contextlib import contextmanager

import torch

from engram.editing.facts import Fact
from engram.editing.tuning import finetune
from engram.editing.tuning.finetune import Settings
from engram.model.delta import LINEAR, Delta, Place, place
from engram.model.halving import halving


def tune_each(lm, facts: list[Fact], names: list[str], settings: Settings) -> list[Delta]:
    """`finetune.tune` of every fact alone, `settings.side_by_side` at a time, fewer where memory runs out.

    ValueError if one of the parameters `names` does not belong to a linear map.
    """
    places = [place(lm, name) for name in names]
    other = [at.name for at in places if not isinstance(at.module, LINEAR)]
    if other:
        raise ValueError(
            f"{other[0]} of {lm.name} does not belong to a linear map: facts are tuned one after the other there"
        )
    return [
        delta
        for found in halving(lambda chunk: _tune(lm, chunk, places, settings), facts, settings.side_by_side, "fact")
        for delta in found
    ]


@torch.enable_grad()
def _tune(lm, facts: list[Fact], places: list[Place], settings: Settings) -> list[Delta]:
    batch, left = finetune.batch_of(lm, facts, settings), list(range(len(facts)))
    before = [getattr(at.module, at.attribute).detach() for at in places]
    leaves = [old.expand(len(facts), *old.shape).clone().requires_grad_() for old in before]
    optimiser = torch.optim.Adam(leaves, lr=settings.rate, weight_decay=settings.decay(1))
    found: list[Delta | None] = [None] * len(facts)

    def leave(rows: list[int]) -> None:
        for row in rows:
            found[left[row]] = finetune.delta_of(
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
            return found
        if len(keep) < len(left):
            batch, left, slopes = batch.select(keep), [left[row] for row in keep], [slope[keep] for slope in slopes]
            leaves, optimiser = _select(leaves, optimiser, keep)
        for leaf, slope in zip(leaves, slopes):
            leaf.grad = slope
        optimiser.step()
        finetune.clamp(leaves, before, settings.epsilon)
    leave(list(range(len(left))))
    return found


def _select(leaves: list, optimiser, keep: list[int]):
    """The weights of some rows, and an Adam that goes on with them."""
    fewer = [leaf.detach()[keep].requires_grad_() for leaf in leaves]
    going = torch.optim.Adam(fewer, **{name: optimiser.defaults[name] for name in ("lr", "weight_decay")})
    for old, new in zip(leaves, fewer):
        going.state[new] = {name: value[keep] if value.ndim else value for name, value in optimiser.state[old].items()}
    return fewer, going


@contextmanager
def _own_weights(places: list[Place], leaves: list[torch.Tensor]):
    """Linear maps in which row i of the input [B, T, in] meets the weights `leaf[i]`."""
    modules, before = {}, {}
    for at, leaf in zip(places, leaves):
        turned = at.attribute == "weight" and at.weight is at.module.weight
        modules.setdefault(at.module, {})[at.attribute] = leaf.transpose(1, 2) if turned else leaf
    try:
        for module, own in modules.items():
            before[module] = vars(module).get("forward")  # that of a model spread over devices
            module.forward = _map(own["weight"], own.get("bias"))
        yield
    finally:
        for module, forward in before.items():
            vars(module).pop("forward", None)
            vars(module).update({"forward": forward} if forward else {})


def _map(weight: torch.Tensor, bias: torch.Tensor | None):
    """X [B, T, in] -> [B, T, out] with weight [B, in, out] and bias [B, out]."""
    if bias is None:
        return lambda x: torch.bmm(x.to(weight.device), weight).to(x.device)
    return lambda x: torch.baddbmm(bias[:, None], x.to(weight.device), weight).to(x.device)
