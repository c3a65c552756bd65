"""The descent of a few facts to their optimised values (ROME Sec. 3.1, eq. 4; MEMIT Sec. 4.2).

Shapes: F facts, C contexts, R = C + 1 rows a fact (the last is the essence text), m target tokens, d values, V
vocabulary.
"""

import math
from dataclasses import dataclass, replace

import torch

from engram.editing.facts import Fact, Lookup, essence, lookups, target_tokens
from engram.editing.values import moved_forward
from engram.settings.objective import Settings

_BETAS, _EPSILON = (0.9, 0.999), 1e-8
PARTS = ("loss", "nll", "kl", "decay")


@dataclass(frozen=True)
class Work:
    """One fact as token ids: its rows (every context, then the essence), where they are read, the target."""

    fact: Fact
    rows: list[Lookup]
    reads: list[list[int]]
    goal: tuple[int, ...]

    @property
    def shape(self) -> moved_forward.Shape:
        """Facts of one shape can be computed together."""
        return moved_forward.shape(self.rows, len(self.goal))


@dataclass(frozen=True)
class Found:
    """Of one fact: the optimised value and the original one [d], and a row of losses (PARTS) for every step."""

    value: torch.Tensor
    initial: torch.Tensor
    losses: list[list[float]]


@dataclass(frozen=True)
class Plan:
    """What all facts share: contexts, each once, with its share of the loss, and the layer that the objects are read
    from.
    """

    contexts: tuple[str, ...]
    share: tuple[float, ...]
    loss_layer: int
    settings: Settings


def plan(lm, contexts: list[str], settings: Settings) -> Plan:
    """ValueError unless the first of `contexts` is the bare prompt "{}" and the layers are the model's."""
    if not contexts or contexts[0] != "{}":
        raise ValueError(f"contexts {contexts[:2]}…: the first must be the bare prompt, '{{}}'")
    loss_layer = lm.layers - 1 if settings.loss_layer is None else settings.loss_layer
    if not settings.layer <= loss_layer < lm.layers:
        raise ValueError(
            f"model {lm.name} has {lm.layers} layers: no layer {settings.layer} and loss_layer {loss_layer} in it"
        )
    unique = tuple(dict.fromkeys(contexts))  # equal texts would give equal rows: one row with their shares together
    return Plan(unique, tuple(contexts.count(one) / len(contexts) for one in unique), loss_layer, settings)


def work(tokenizer, fact: Fact, shared: Plan) -> Work:
    """Token ids of one fact.

    PAPER: ROME eq. 4 reads what follows "{subject} is a". DIFFERS: as published, `subject_last` reads at the subject.
    """
    goal = target_tokens(tokenizer, fact)
    token = shared.settings.token
    rows = lookups(tokenizer, fact, list(shared.contexts), goal[:-1], token)
    reads = [list(range(len(row.ids) - len(goal), len(row.ids))) for row in rows]
    kept = essence(tokenizer, fact, token)
    if shared.settings.kl_position == "subject_last":
        kept = replace(kept, ids=kept.ids[: kept.position + 1])
    return Work(fact, [*rows, kept], [*reads, [len(kept.ids) - 1]], goal)


def optimised(lm, todo: list[Work], shared: Plan) -> list[Found]:
    """What is found for each of `todo`, which have one shape, computed together. ValueError for a loss that is not
    finite.
    """
    found = descend(batch_of(lm, todo, shared), shared.settings)
    for one, result in zip(todo, found):
        if not math.isfinite(result.losses[-1][0]):
            raise ValueError(
                f"the value of fact {one.fact.case_id} diverged: after {len(result.losses)} steps its loss is "
                f"{result.losses[-1][0]}; lower the rate, {shared.settings.rate:g}, of the method in params"
            )
    return found


@dataclass(frozen=True)
class Batch:
    """A few facts, with everything that does not change while delta does."""

    head: object  # block output [.., d] -> logits [.., V], at least float32
    suffix: moved_forward.Suffix
    initial: torch.Tensor  # [F, d]
    goal: torch.Tensor  # [F, m]
    share: torch.Tensor  # [C]

    def select(self, facts: list[int]) -> "Batch":
        return replace(self, suffix=self.suffix.select(facts), initial=self.initial[facts], goal=self.goal[facts])

    def losses(self, delta: torch.Tensor, before: torch.Tensor | None, settings: Settings):
        """Loss of every fact and its three parts, [F] each, and the essence's log-probabilities [F, V].

        `before` are those at delta = 0; None if delta is 0 now. PAPER: ROME eq. 4; DIFFERS: the code's KL(now ||
        before), and weight decay on the first power of the norm.
        """
        targets, essence = self.suffix.moved(delta)
        logprobs = self.head(torch.cat((targets.flatten(0, 2), essence))).log_softmax(-1)
        now, goal = logprobs[-len(delta) :], self.goal[:, None].expand(targets.shape[:3])
        nll = torch.nn.functional.nll_loss(logprobs[: goal.numel()], goal.flatten(), reduction="none").view(goal.shape)
        nll = (nll.mean(-1) * self.share).sum(-1)
        before = now.detach() if before is None else before
        kl = settings.kl_factor * (now.exp() * (now - before)).sum(-1)
        decay = settings.weight_decay * delta.norm(dim=-1) / self.initial.norm(dim=-1) ** 2
        return {"loss": nll + kl + decay, "nll": nll, "kl": kl, "decay": decay}, now


def batch_of(lm, todo: list[Work], shared: Plan) -> Batch:
    """Everything that is computed once. Every fact is prepared alone, so that no padding of others enters it."""
    parts = [moved_forward.prepare(lm, shared.settings, shared.loss_layer, one.rows, one.reads) for one in todo]
    together = moved_forward.join(parts)
    wide = torch.promote_types(lm.model.dtype, torch.float32)
    goal = torch.tensor([one.goal for one in todo], device=lm.device)
    share = torch.tensor(shared.share, dtype=torch.float64).to(lm.device, wide)
    initial = getattr(together.start, shared.settings.site).to(wide)
    return Batch(lambda x: lm.logits(lm.final(x)).to(wide), together, initial, goal, share)


def descend(batch: Batch, settings: Settings) -> list[Found]:
    """Adam on delta from zero; every fact is clamped to its own ball, stops on its own and leaves the batch then."""
    left = list(range(len(batch.initial)))
    found: list[Found | None] = [None] * len(left)
    losses: list[list[list[float]]] = [[] for _ in left]
    delta, first, second = (torch.zeros_like(batch.initial) for _ in range(3))
    before = None
    for step in range(settings.steps):
        last = step == settings.steps - 1
        with torch.set_grad_enabled(not last):
            parts, now = batch.losses(delta.requires_grad_(not last), before, settings)
        before = now.detach() if before is None else before
        rows = torch.stack([parts[name].detach() for name in PARTS], 1).tolist()
        for fact, row in zip(left, rows):
            losses[fact].append(row)
        done = [i for i, row in enumerate(rows) if last or row[0] < settings.stop_loss]
        for i in done:
            initial = batch.initial[i]
            found[left[i]] = Found(initial + delta[i].detach(), initial, losses[left[i]])
        if len(done) == len(left):
            break
        (slope,) = torch.autograd.grad(parts["loss"].sum(), delta)
        delta = delta.detach()
        if done:
            keep = [i for i in range(len(left)) if i not in done]
            batch, left = batch.select(keep), [left[i] for i in keep]
            delta, first, second, slope, before = (x[keep] for x in (delta, first, second, slope, before))
        delta = _clamped(_adam(delta, slope, first, second, step + 1, settings.rate), batch.initial, settings)
    return found


def _adam(delta, slope, first, second, step: int, rate: float) -> torch.Tensor:
    """Delta after one step of Adam, whose moments `first` and `second` are updated in place."""
    first.lerp_(slope, 1 - _BETAS[0])
    second.mul_(_BETAS[1]).addcmul_(slope, slope, value=1 - _BETAS[1])
    size, spread = rate / (1 - _BETAS[0] ** step), (1 - _BETAS[1] ** step) ** 0.5
    return delta.addcdiv(first, (second.sqrt() / spread).add_(_EPSILON), value=-size)


def _clamped(delta, initial, settings: Settings) -> torch.Tensor:
    radius = settings.clamp_norm_factor * initial.norm(dim=-1, keepdim=True)
    norm = delta.norm(dim=-1, keepdim=True)
    return delta * torch.where(norm > radius, radius / norm, torch.ones_like(norm))
