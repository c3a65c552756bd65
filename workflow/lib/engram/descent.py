"""The descent of one batch of facts to their optimised values (ROME Sec. 3.1, eq. 4; MEMIT Sec. 4.2; spec 2.7, 3.3).

Shapes: F facts, C contexts, R = C + 1 rows a fact (the last is the essence text), m target tokens, d values, V vocabulary.
"""

from dataclasses import dataclass, replace

import torch

from engram import memory
from engram.objective import Settings
from engram.suffix import Suffix, prepare

_BETAS, _EPSILON = (0.9, 0.999), 1e-8
PARTS = ("loss", "nll", "kl", "decay")


@dataclass(frozen=True)
class Found:
    """Of one fact: the optimised value and the original one [d], and a row of losses (PARTS) for every step."""

    value: torch.Tensor
    initial: torch.Tensor
    losses: list[list[float]]


def optimised(lm, facts: list[memory.Fact], contexts: list[str], settings: Settings) -> list[Found]:
    """What is found for each of `facts`, computed together. `contexts` are templates, the bare one "{}" first."""
    return descend(batch_of(lm, facts, contexts, settings), settings)


@dataclass(frozen=True)
class Batch:
    """The rows of a few facts, with everything that does not change while delta does."""

    head: object  # block output [.., d] -> logits [.., V], at least float32
    suffix: Suffix
    initial: torch.Tensor  # [F, d]
    token: torch.Tensor  # [F, m] target tokens, 0 behind a shorter target
    weight: torch.Tensor  # [F, C, m] in the mean over contexts and target tokens

    def select(self, facts: list[int]) -> "Batch":
        return replace(self, suffix=self.suffix.select(facts), initial=self.initial[facts], token=self.token[facts],
                       weight=self.weight[facts])

    def losses(self, delta: torch.Tensor, before: torch.Tensor | None, settings: Settings):
        """Loss of every fact and its three parts, [F] each, and the essence's log-probabilities [F, V].

        `before` are those at delta = 0; None if delta is 0 now. PAPER: ROME eq. 4; DIFFERS: the code's KL(now || before),
        and weight decay on the first power of the norm.
        """
        targets, essence = self.suffix.moved(delta)
        logits = self.head(targets)
        token = self.token[:, None].expand(self.weight.shape)
        nll = torch.nn.functional.cross_entropy(logits.flatten(0, 2), token.flatten(), reduction="none")
        nll = (nll.view(token.shape) * self.weight).sum((1, 2))
        now = self.head(essence).log_softmax(-1)
        before = now.detach() if before is None else before
        kl = settings.kl_factor * (now.exp() * (now - before)).sum(-1)
        decay = settings.weight_decay * delta.norm(dim=-1) / self.initial.norm(dim=-1) ** 2
        return {"loss": nll + kl + decay, "nll": nll, "kl": kl, "decay": decay}, now


def batch_of(lm, facts: list[memory.Fact], contexts: list[str], settings: Settings) -> Batch:
    """Everything that is computed once for `facts`. ValueError unless the first of `contexts` is "{}"."""
    if not contexts or contexts[0] != "{}":
        raise ValueError(f"contexts {contexts[:2]}…: the first must be the bare prompt, '{{}}'")
    loss_layer = lm.layers - 1 if settings.loss_layer is None else settings.loss_layer
    if not settings.layer <= loss_layer < lm.layers:
        raise ValueError(f"model {lm.name} has {lm.layers} layers: no layer {settings.layer} and loss_layer {loss_layer} in it")
    unique = list(dict.fromkeys(contexts))  # equal texts would give equal rows: one row with their weight together
    share = torch.tensor([contexts.count(context) / len(contexts) for context in unique], dtype=torch.float64)
    goals = [memory.target_tokens(lm.tokenizer, fact) for fact in facts]
    rows, reads = [], []
    for fact, goal in zip(facts, goals):
        found = memory.lookups(lm.tokenizer, fact, unique, goal[:-1])
        reads += [list(range(len(row.ids) - len(goal), len(row.ids))) for row in found]
        rows += [*found, essence_row(lm.tokenizer, fact, settings)]
        reads.append([len(rows[-1].ids) - 1])
    suffix = prepare(lm, settings.layer, loss_layer, rows, reads, len(unique) + 1)
    most = max(map(len, goals))
    token = torch.tensor([[*goal, *[0] * (most - len(goal))] for goal in goals], device=lm.device)
    inside = torch.tensor([[1 / len(goal)] * len(goal) + [0.0] * (most - len(goal)) for goal in goals], dtype=torch.float64)
    weight = (share[None, :, None] * inside[:, None]).to(token.device, torch.promote_types(lm.model.dtype, torch.float32))
    initial = getattr(suffix.start, settings.site)[:: len(unique) + 1].to(weight.dtype)
    norm, head = lm.module("norm"), lm.model.get_output_embeddings()
    return Batch(lambda x: head(norm(x)).to(weight.dtype), suffix, initial, token, weight)


def essence_row(tokenizer, fact: memory.Fact, settings: Settings) -> memory.Lookup:
    """The essence text up to where it is read.

    PAPER: ROME eq. 4 reads what follows "{subject} is a". DIFFERS: as published, `subject_last` reads at the subject.
    """
    row = memory.essence(tokenizer, fact)
    return row if settings.kl_position == "end" else replace(row, ids=row.ids[: row.position + 1])


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
