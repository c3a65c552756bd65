"""Fine-tuning of a few weights on the facts themselves: what FT, FT+L, FT-W and AttnEdit have in common.

PAPER: ROME App. E.1; MEMIT Sec. 5.1. Many single facts at once are engram.editing.tuning.batched_finetune.
Shapes: B facts of a batch, T tokens, d width, m target tokens.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from engram.editing.facts import Fact, target_tokens
from engram.model import tokens
from engram.model.delta import Delta, Place, applied, place
from engram.model.hooks import call_until_stop, captured, resumed
from engram.model.loading import LM
from engram.settings.tuning import Settings


def value_names(lm: LM, layer: int) -> list[str]:
    """Names of the parameters of the MLP's last projection in `layer`: weight, and bias where there is one."""
    return _below(lm, [lm.arch.value.format(layer)], layer)


def block_names(lm: LM, layer: int) -> list[str]:
    """Names of all parameters of the block `layer`.

    DIFFERS: the code takes whatever holds the block's name, so 2 would be 20 to 27 as well.
    """
    return _below(lm, [lm.arch.block.format(layer)], layer)


def attention_names(lm: LM, layer: int) -> list[str]:
    """Names of weights and biases of the projections that make queries, keys and values in `layer`."""
    return _below(lm, [f"{lm.arch.attn.format(layer)}.{name}" for name in lm.arch.qkv], layer)


def _below(lm: LM, paths: list[str], layer: int) -> list[str]:
    """Names of the parameters of the modules `paths`; ValueError if the model has no such layer."""
    if not 0 <= layer < lm.layers:
        raise ValueError(f"layer {layer} of {lm.name}, whose layers are 0 to {lm.layers - 1}")
    return [f"{path}.{name}" for path in paths for name, _ in lm.model.get_submodule(path).named_parameters()]


def tune(lm: LM, facts: list[Fact], names: list[str], settings: Settings) -> Delta:
    """The change of the parameters `names`, all of block `settings.layer`, that makes the facts' targets likely.

    PAPER: ROME App. E.1. Adam goes over the facts in batches, in their order. The box is around the weights as they are
    when this is called. The model computes with copies of them meanwhile. ValueError without facts.
    """
    if not facts:
        raise ValueError("no facts to tune the model on")
    chunks = [facts[start : start + settings.batch_size] for start in range(0, len(facts), settings.batch_size)]
    batches = [batch_of(lm, chunk, settings) for chunk in chunks]
    places = [place(lm, name) for name in names]
    copied = applied(lm, Delta({spot.name: spot.weight.new_zeros(()).expand(spot.weight.shape) for spot in places}))
    with copied, torch.enable_grad():
        leaves = [getattr(spot.module, spot.attribute).requires_grad_() for spot in places]
        before = [leaf.detach().clone() for leaf in leaves]
        optimiser = torch.optim.Adam(leaves, lr=settings.rate, weight_decay=settings.decay(len(facts)))
        for _ in range(settings.steps):
            if _pass(lm, batches, leaves, before, optimiser, settings) < settings.stop_loss:
                break
    return delta_of(lm, places, [leaf.detach() - old for leaf, old in zip(leaves, before)], settings)


def _pass(
    lm: LM,
    batches: list["Batch"],
    leaves: list[torch.Tensor],
    before: list[torch.Tensor],
    optimiser: torch.optim.Optimizer,
    settings: Settings,
) -> float:
    """Make one step per batch; returns the mean loss of the facts, each taken before the step of its batch."""
    total = 0.0
    for batch in batches:
        loss = batch.losses(lm, settings.layer).mean()
        total += loss.item() * len(batch.ids)
        if loss.item() >= settings.stop_loss:
            for leaf, slope in zip(leaves, torch.autograd.grad(loss, leaves)):
                leaf.grad = slope
            optimiser.step()
            clamp(leaves, before, settings.epsilon)
    return total / sum(len(batch.ids) for batch in batches)


def delta_of(lm: LM, places: list[Place], changes: list[torch.Tensor], settings: Settings) -> Delta:
    """The changes of the parameters `places`, given as these are stored, as a delta.

    The weight of the MLP's last projection goes by its layer there, every other one by its name.
    """
    value, delta = f"{lm.arch.value.format(settings.layer)}.weight", Delta({})
    for spot, change in zip(places, changes):
        turned = change if spot.weight is getattr(spot.module, spot.attribute) else change.T
        delta.parts[settings.layer if spot.name == value else spot.name] = _boxed(turned.contiguous(), settings.epsilon)
    return delta


def clamp(leaves: list[torch.Tensor], before: list[torch.Tensor], epsilon: float | None) -> None:
    """Put the weights `leaves` back, in place, to at most `epsilon` from what they were; None leaves them."""
    if epsilon is not None:
        with torch.no_grad():
            for leaf, old in zip(leaves, before):
                torch.clamp(leaf, old - epsilon, old + epsilon, out=leaf)


def _boxed(change: torch.Tensor, epsilon: float | None) -> torch.Tensor:
    """The change, cut at the largest number of its dtype that is not above epsilon.

    Clamped weights can leave the box by a rounding.
    """
    if epsilon is None:
        return change
    edge = torch.tensor(epsilon, dtype=change.dtype)
    if edge.double() > epsilon:
        edge = torch.nextafter(edge, edge.new_zeros(()))
    return change.clamp(-edge.item(), edge.item())


@dataclass(frozen=True)
class Batch:
    """Facts that are read together, with everything that does not change while the weights do."""

    ids: torch.Tensor  # [B, T]
    hidden: torch.Tensor | None  # [B, T, d] output of the block below the tuned one; None if that is the first
    position: torch.Tensor  # [B, m] where target tokens are read, or [B, 1]: all at one position
    token: torch.Tensor  # [B, m] target tokens, 0 behind a shorter target
    weight: torch.Tensor  # [B, m] in the mean over a fact's tokens

    def losses(self, lm: LM, layer: int) -> torch.Tensor:
        """Mean negative log-likelihood of every fact's target tokens [B]; the forward starts at block `layer`."""
        with nullcontext() if self.hidden is None else resumed(lm, layer - 1, self.hidden):
            states = lm.hidden(self.ids)
        row = torch.arange(len(states), device=states.device)[:, None]
        chances = lm.logits(states[row, self.position]).log_softmax(-1)
        chances = chances.expand(-1, self.token.shape[1], -1).gather(2, self.token[..., None])[..., 0]
        return -(chances * self.weight).sum(1)

    def select(self, facts: list[int]) -> "Batch":
        """The batch of some of the facts, by their index, in that order."""
        kept: dict[str, Any] = {name: None if value is None else value[facts] for name, value in vars(self).items()}
        return replace(self, **kept)


@torch.no_grad()
def batch_of(lm: LM, facts: Sequence[Fact], settings: Settings) -> Batch:
    """The facts as one batch, run as far as the tuned block.

    PAPER (code): every target token is read at the last prompt token; teacher-forced, each after its predecessors.
    ValueError for weights in float16.
    """
    if lm.model.dtype == torch.float16:
        raise ValueError(
            f"model {lm.name} has weights in float16, where Adam's steps are lost; right is float32 or bfloat16"
        )
    targets = [list(target_tokens(lm.tokenizer, fact)) for fact in facts]
    prompts = [tokens.prompt(lm.tokenizer, fact.prompt.replace("{}", fact.subject)) for fact in facts]
    most = max(map(len, targets))
    token = [target + [0] * (most - len(target)) for target in targets]
    weight = [[1 / len(target)] * len(target) + [0.0] * (most - len(target)) for target in targets]
    position = [[len(prompt) - 1] for prompt in prompts]
    if settings.teacher_forced:
        position = [[last + min(j, len(target) - 1) for j in range(most)] for (last,), target in zip(position, targets)]
        prompts = [prompt + target[:-1] for prompt, target in zip(prompts, targets)]
    ids, _ = tokens.pad(prompts, lm.device)
    hidden = None
    if settings.layer > 0:
        with captured({"below": lm.module("block", settings.layer - 1)}, stop="below") as kept:
            call_until_stop(lm.hidden, ids)
        hidden = kept["below"]
    return Batch(
        ids,
        hidden,
        torch.tensor(position, device=lm.device),
        torch.tensor(token, device=lm.device),
        torch.tensor(weight, device=lm.device, dtype=lm.model.dtype),
    )
