"""Fine-tuning of a few weights on the facts themselves: what FT, FT+L, FT-W and AttnEdit have in common (ROME App. E.1;
MEMIT Sec. 5.1).

Shapes: B facts of a batch, T tokens, d width, m target tokens.
"""

from contextlib import nullcontext
from dataclasses import dataclass

import torch

from engram.editing.facts import Fact, target_tokens
from engram.model import tokens
from engram.model.delta import Delta, Place, applied, place
from engram.model.hooks import call_until_stop, captured, resumed
from engram.settings.tuning import Settings


def value_names(lm, layer: int) -> list[str]:
    """Parameters of the MLP's last projection: weight, and bias where there is one."""
    return _below(lm, [lm.arch.value.format(layer)], layer)


def block_names(lm, layer: int) -> list[str]:
    """All parameters of a block. DIFFERS: the code takes whatever holds the block's name, so 2 would be 20 to 27 as
    well.
    """
    return _below(lm, [lm.arch.block.format(layer)], layer)


def attention_names(lm, layer: int) -> list[str]:
    """Weights and biases of the projections that make queries, keys and values."""
    return _below(lm, [f"{lm.arch.attn.format(layer)}.{name}" for name in lm.arch.qkv], layer)


def _below(lm, paths: list[str], layer: int) -> list[str]:
    if not 0 <= layer < lm.layers:
        raise ValueError(f"layer {layer} of {lm.name}, whose layers are 0 to {lm.layers - 1}")
    return [f"{path}.{name}" for path in paths for name, _ in lm.model.get_submodule(path).named_parameters()]


def tune(lm, facts: list[Fact], names: list[str], settings: Settings) -> Delta:
    """The change of the parameters `names`, all of block `settings.layer`, that makes the facts' targets likely.

    PAPER: ROME App. E.1. Adam goes over the facts in batches, in their order. The box is around the weights as they are
    when this is called. The model computes with copies of them meanwhile. ValueError without facts.
    """
    if not facts:
        raise ValueError("no facts to tune the model on")
    chunks = [facts[start : start + settings.batch_size] for start in range(0, len(facts), settings.batch_size)]
    batches = [batch_of(lm, chunk, settings) for chunk in chunks]
    places = [place(lm, name) for name in names]
    copied = applied(lm, Delta({at.name: at.weight.new_zeros(()).expand(at.weight.shape) for at in places}))
    with copied, torch.enable_grad():
        leaves = [getattr(at.module, at.attribute).requires_grad_() for at in places]
        before = [leaf.detach().clone() for leaf in leaves]
        optimiser = torch.optim.Adam(leaves, lr=settings.rate, weight_decay=settings.decay(len(facts)))
        for _ in range(settings.steps):
            if _pass(lm, batches, leaves, before, optimiser, settings) < settings.stop_loss:
                break
    return delta_of(lm, places, [leaf.detach() - old for leaf, old in zip(leaves, before)], settings)


def _pass(lm, batches: list["Batch"], leaves: list, before: list, optimiser, settings: Settings) -> float:
    """One step per batch; the mean loss of the facts, each taken before the step of its batch."""
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


def delta_of(lm, places: list[Place], changes: list[torch.Tensor], settings: Settings) -> Delta:
    """The changes of parameters, as they are stored, as a delta; the MLP's last projection goes by its layer."""
    value, parts = f"{lm.arch.value.format(settings.layer)}.weight", {}
    for at, change in zip(places, changes):
        turned = change if at.weight is getattr(at.module, at.attribute) else change.T
        parts[settings.layer if at.name == value else at.name] = _boxed(turned.contiguous(), settings.epsilon)
    return Delta(parts)


def clamp(leaves: list[torch.Tensor], before: list[torch.Tensor], epsilon: float | None) -> None:
    """Put the weights back into the box around what they were."""
    if epsilon is not None:
        with torch.no_grad():
            for leaf, old in zip(leaves, before):
                torch.clamp(leaf, old - epsilon, old + epsilon, out=leaf)


def _boxed(change: torch.Tensor, epsilon: float | None) -> torch.Tensor:
    """`change` cut at the largest number of its dtype that is not above epsilon: clamping weights leaves it by a
    rounding.
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
    position: torch.Tensor  # [B, m] where target tokens are read, or [B, 1]: all at one place
    token: torch.Tensor  # [B, m] target tokens, 0 behind a shorter target
    weight: torch.Tensor  # [B, m] in the mean over a fact's tokens

    def losses(self, lm, layer: int) -> torch.Tensor:
        """Mean negative log-likelihood of every fact's target tokens [B]; the forward starts at block `layer`."""
        with nullcontext() if self.hidden is None else resumed(lm, layer - 1, self.hidden):
            states = lm.hidden(self.ids)
        row = torch.arange(len(states), device=states.device)[:, None]
        chances = lm.logits(states[row, self.position]).log_softmax(-1)
        chances = chances.expand(-1, self.token.shape[1], -1).gather(2, self.token[..., None])[..., 0]
        return -(chances * self.weight).sum(1)

    def select(self, facts: list[int]) -> "Batch":
        """Some of the facts."""
        return Batch(*(None if value is None else value[facts] for value in vars(self).values()))


@torch.no_grad()
def batch_of(lm, facts: list[Fact], settings: Settings) -> Batch:
    """PAPER (code): every target token is read at the last prompt token; teacher-forced, each after its
    predecessors.
    """
    if lm.model.dtype == torch.float16:
        raise ValueError(
            f"model {lm.name} has weights in float16, where Adam's steps are lost; right is float32 or bfloat16"
        )
    goals = [list(target_tokens(lm.tokenizer, fact)) for fact in facts]
    prompts = [tokens.prompt(lm.tokenizer, fact.prompt.replace("{}", fact.subject)) for fact in facts]
    most = max(map(len, goals))
    token = [goal + [0] * (most - len(goal)) for goal in goals]
    weight = [[1 / len(goal)] * len(goal) + [0.0] * (most - len(goal)) for goal in goals]
    position = [[len(prompt) - 1] for prompt in prompts]
    if settings.teacher_forced:
        position = [[at + min(j, len(goal) - 1) for j in range(most)] for (at,), goal in zip(position, goals)]
        prompts = [prompt + goal[:-1] for prompt, goal in zip(prompts, goals)]
    ids, _ = tokens.pad(prompts, lm.device)
    hidden = None
    if settings.layer > 0:
        with captured({"below": lm.module("block", settings.layer - 1)}, stop="below") as kept:
            call_until_stop(lm.hidden, ids)
        hidden = kept["below"]
    position, token = (torch.tensor(values, device=lm.device) for values in (position, token))
    return Batch(ids, hidden, position, token, torch.tensor(weight, device=lm.device, dtype=lm.model.dtype))
