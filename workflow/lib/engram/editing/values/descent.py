"""The descent of a few facts to their optimised values (ROME Sec. 3.1, eq. 4; MEMIT Sec. 4.2).

Which facts are computed together is engram.editing.values.targets, what a moved state makes of a text
engram.editing.values.moved_forward.
Shapes: F facts, C contexts, R = C + 1 rows a fact (the last is the essence text), m target tokens, d values, V
vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedTokenizerBase

from engram.editing.facts import Fact, Lookup, essence, lookups, target_tokens
from engram.editing.values import moved_forward
from engram.model.loading import LM
from engram.settings.objective import Settings

_BETAS, _EPSILON = (0.9, 0.999), 1e-8
PARTS = ("loss", "nll", "kl", "decay")


@dataclass(frozen=True)
class Work:
    """One fact as token ids."""

    fact: Fact
    rows: list[Lookup]  # its prompt in every context, then the essence
    reads: list[list[int]]  # the positions of each row where a prediction is read
    target: tuple[int, ...]

    @property
    def shape(self) -> moved_forward.Shape:
        """The sizes of the fact's tensors; facts of one shape can be computed together."""
        return moved_forward.shape(self.rows, len(self.target))


@dataclass(frozen=True)
class Optimised:
    """What the descent of one fact gives: the optimised and the original value [d], and for every step a row of losses.

    A row has the columns PARTS.
    """

    value: torch.Tensor
    initial: torch.Tensor
    losses: list[list[float]]


@dataclass(frozen=True)
class Plan:
    """What all facts share."""

    contexts: tuple[str, ...]  # each once, the bare one first
    share: tuple[float, ...]  # of each context in the loss
    loss_layer: int  # the targets are read from this block's output
    settings: Settings


def plan(lm: LM, contexts: list[str], settings: Settings) -> Plan:
    """What the descents of all facts of `lm` share, from `contexts` (templates) and the hyperparameters.

    ValueError unless the first of `contexts` is the bare prompt "{}" and the layers are the model's.
    """
    if not contexts or contexts[0] != "{}":
        raise ValueError(f"contexts {contexts[:2]}…: the first must be the bare prompt, '{{}}'")
    loss_layer = lm.layers - 1 if settings.loss_layer is None else settings.loss_layer
    if not settings.layer <= loss_layer < lm.layers:
        raise ValueError(
            f"model {lm.name} has {lm.layers} layers: no layer {settings.layer} and loss_layer {loss_layer} in it"
        )
    unique = tuple(dict.fromkeys(contexts))  # equal texts would give equal rows: one row with their shares together
    return Plan(unique, tuple(contexts.count(context) / len(contexts) for context in unique), loss_layer, settings)


def work(tokenizer: PreTrainedTokenizerBase, fact: Fact, shared: Plan) -> Work:
    """One fact as token ids: its prompt in the contexts of `shared` with the target behind it, and its essence.

    PAPER: ROME eq. 4 reads what follows "{subject} is a". DIFFERS: as published, `subject_last` reads at the subject.
    """
    target = target_tokens(tokenizer, fact)
    token = shared.settings.token
    rows = lookups(tokenizer, fact, shared.contexts, target[:-1], token)
    reads = [list(range(len(row.ids) - len(target), len(row.ids))) for row in rows]
    kept = essence(tokenizer, fact, token)
    if shared.settings.kl_position == "subject_last":
        kept = replace(kept, ids=kept.ids[: kept.position + 1])
    return Work(fact, [*rows, kept], [*reads, [len(kept.ids) - 1]], target)


def optimised(lm: LM, todo: Sequence[Work], shared: Plan) -> list[Optimised]:
    """The optimised values of the facts `todo`, which have one shape, computed together.

    ValueError for a fact whose loss is not finite in the end.
    """
    results = descend(batch_of(lm, todo, shared), shared.settings)
    for prepared, result in zip(todo, results):
        if not math.isfinite(result.losses[-1][0]):
            raise ValueError(
                f"the value of fact {prepared.fact.case_id} diverged: after {len(result.losses)} steps its loss is "
                f"{result.losses[-1][0]}; lower the rate, {shared.settings.rate:g}, of the method in params"
            )
    return results


@dataclass(frozen=True)
class Batch:
    """A few facts, with everything that does not change while delta does."""

    head: Callable[[torch.Tensor], torch.Tensor]  # block output [.., d] -> logits [.., V], at least float32
    suffix: moved_forward.Suffix
    initial: torch.Tensor  # [F, d]
    target: torch.Tensor  # [F, m]
    share: torch.Tensor  # [C]

    def select(self, facts: list[int]) -> "Batch":
        """The batch of some of the facts, by their index, in that order."""
        return replace(self, suffix=self.suffix.select(facts), initial=self.initial[facts], target=self.target[facts])

    def losses(
        self, delta: torch.Tensor, before: torch.Tensor | None, settings: Settings
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Loss of every fact and its three parts (PARTS), [F] each, and the essence's log-probabilities [F, V].

        `before` are the latter at delta = 0; None if delta is 0 now. PAPER: ROME eq. 4; DIFFERS: the code's KL(now ||
        before), and weight decay on the first power of the norm.
        """
        states, essence = self.suffix.moved(delta)
        logprobs = self.head(torch.cat((states.flatten(0, 2), essence))).log_softmax(-1)
        now, target = logprobs[-len(delta) :], self.target[:, None].expand(states.shape[:3])
        nll = torch.nn.functional.nll_loss(logprobs[: target.numel()], target.flatten(), reduction="none")
        nll = nll.view(target.shape)
        nll = (nll.mean(-1) * self.share).sum(-1)
        before = now.detach() if before is None else before
        kl = settings.kl_factor * (now.exp() * (now - before)).sum(-1)
        decay = settings.weight_decay * delta.norm(dim=-1) / self.initial.norm(dim=-1) ** 2
        return {"loss": nll + kl + decay, "nll": nll, "kl": kl, "decay": decay}, now


def batch_of(lm: LM, todo: Sequence[Work], shared: Plan) -> Batch:
    """The facts `todo`, of one shape, with all that is computed once for them.

    Every fact is prepared alone, so that no padding of others enters it.
    """
    suffix = moved_forward.join(
        [moved_forward.prepare(lm, shared.settings, shared.loss_layer, fact.rows, fact.reads) for fact in todo]
    )
    wide = torch.promote_types(lm.model.dtype, torch.float32)
    target = torch.tensor([fact.target for fact in todo], device=lm.device)
    share = torch.tensor(shared.share, dtype=torch.float64).to(lm.device, wide)
    initial = getattr(suffix.start, shared.settings.site).to(wide)
    return Batch(lambda x: lm.logits(lm.final(x)).to(wide), suffix, initial, target, share)


def descend(batch: Batch, settings: Settings) -> list[Optimised]:
    """The optimised values of a batch, in its order, by Adam on delta from zero.

    Every fact is clamped to its own ball, stops on its own and leaves the batch then.
    """
    left = list(range(len(batch.initial)))
    results: dict[int, Optimised] = {}
    losses: list[list[list[float]]] = [[] for _ in left]
    delta, first, second = (torch.zeros_like(batch.initial) for _ in range(3))
    before: torch.Tensor | None = None
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
            results[left[i]] = Optimised(initial + delta[i].detach(), initial, losses[left[i]])
        if len(done) == len(left):
            break
        (slope,) = torch.autograd.grad(parts["loss"].sum(), delta)
        delta = delta.detach()
        if done:
            keep = [i for i in range(len(left)) if i not in done]
            batch, left = batch.select(keep), [left[i] for i in keep]
            delta, first, second, slope, before = (x[keep] for x in (delta, first, second, slope, before))
        delta = _clamped(_adam(delta, slope, first, second, step + 1, settings.rate), batch.initial, settings)
    return [results[fact] for fact in sorted(results)]


def _adam(
    delta: torch.Tensor, slope: torch.Tensor, first: torch.Tensor, second: torch.Tensor, step: int, rate: float
) -> torch.Tensor:
    """Delta after one step of Adam, whose moments `first` and `second` are updated in place; the first step is 1."""
    first.lerp_(slope, 1 - _BETAS[0])
    second.mul_(_BETAS[1]).addcmul_(slope, slope, value=1 - _BETAS[1])
    size, spread = rate / (1 - _BETAS[0] ** step), (1 - _BETAS[1] ** step) ** 0.5
    return delta.addcdiv(first, (second.sqrt() / spread).add_(_EPSILON), value=-size)


def _clamped(delta: torch.Tensor, initial: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Delta [F, d] cut to a length of at most `clamp_norm_factor` times that of the original value."""
    radius = settings.clamp_norm_factor * initial.norm(dim=-1, keepdim=True)
    norm = delta.norm(dim=-1, keepdim=True)
    return delta * torch.where(norm > radius, radius / norm, torch.ones_like(norm))
