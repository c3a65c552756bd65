"""Optimised values: what the MLP should return at the subject so that the model says the new object (spec 2.7).

Shapes: F facts, C contexts, R = C + 1 rows a fact (the last is the essence text), T tokens, d values, V vocabulary.
"""

from dataclasses import dataclass

import pandas as pd
import torch

from engram import memory, progress, tokens
from engram.hooks import captured, resumed, run


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of the optimisation; defaults are the reference's."""

    layer: int
    steps: int = 20  # loss evaluations; the last one is not followed by an update
    rate: float = 0.5
    weight_decay: float = 0.5
    kl_factor: float = 0.0625
    clamp_norm_factor: float = 4.0
    stop_loss: float = 0.05


@dataclass(frozen=True)
class Targets:
    """v* and the original value v0 [F, d], and the log of losses (one row per fact and step)."""

    value: torch.Tensor
    initial: torch.Tensor
    log: pd.DataFrame


class _Batch:
    """The rows of a few facts, with everything that does not change while delta does."""

    def __init__(self, lm, facts, contexts, layer: int):
        self.lm, self.layer, self.count = lm, layer, len(facts)
        goals = [memory.target_tokens(lm.tokenizer, fact) for fact in facts]
        rows = []
        for fact, goal in zip(facts, goals):
            rows += memory.lookups(lm.tokenizer, fact, contexts, goal[:-1]) + [memory.essence(lm.tokenizer, fact)]
        self.per_fact = len(contexts) + 1
        self.ids, lengths = tokens.pad([row.ids for row in rows], lm.device)
        self.position = torch.tensor([row.position for row in rows], device=lm.device)
        self._index_targets(goals, lengths)
        self._run_below()
        self.essence_rows = torch.arange(self.count, device=lm.device) * self.per_fact + self.per_fact - 1
        with torch.no_grad():
            self.essence_before = self._essence_logprobs(self._states(torch.zeros_like(self.initial)))

    def _index_targets(self, goals, lengths) -> None:
        """Flat lists over (row, target token): row, position whose logits predict it, token, weight in the fact's mean."""
        row, position, token, weight = [], [], [], []
        for f, goal in enumerate(goals):
            for c in range(self.per_fact - 1):
                r = f * self.per_fact + c
                start = int(lengths[r]) - len(goal)
                row += [r] * len(goal)
                position += range(start, start + len(goal))
                token += goal
                weight += [1.0 / len(goal) / (self.per_fact - 1)] * len(goal)
        device = self.ids.device
        self.row, self.at = torch.tensor(row, device=device), torch.tensor(position, device=device)
        self.token = torch.tensor(token, device=device)
        self.weight = torch.tensor(weight, device=device, dtype=self.lm.value_weight(self.layer).dtype)

    @torch.no_grad()
    def _run_below(self) -> None:
        """Block output [F*R, T, d] of the edited layer, computed once, and v0: the MLP's output for the bare prompt."""
        names = {"mlp": self.lm.module("mlp", self.layer), "block": self.lm.module("block", self.layer)}
        with captured(names, stop="block") as kept:
            run(self.lm.hidden, self.ids)
        self.states = kept["block"]
        bare = torch.arange(self.count, device=self.ids.device) * self.per_fact
        self.initial = kept["mlp"][bare, self.position[bare]]

    def _states(self, delta: torch.Tensor) -> torch.Tensor:
        """Final hidden states with delta [F, d] added at every row's lookup token.

        Adding to the MLP's output is adding to the block's: both go straight into the residual stream.
        """
        shift = torch.zeros_like(self.states)
        index = torch.arange(len(self.ids), device=self.ids.device)
        shift = shift.index_put((index, self.position), delta.repeat_interleave(self.per_fact, 0))
        with resumed(self.lm, self.layer, self.states + shift):
            return self.lm.hidden(self.ids)

    def _essence_logprobs(self, hidden: torch.Tensor) -> torch.Tensor:
        at = hidden[self.essence_rows, self.position[self.essence_rows]]
        return self.lm.module("head")(at).log_softmax(-1)

    def losses(self, delta: torch.Tensor, settings: Settings) -> dict[str, torch.Tensor]:
        """Loss of every fact [F] and its three parts. PAPER: ROME eq. 4; DIFFERS: the code's KL(now || before), read at the
        subject's last token, and weight decay on the first power of the norm."""
        hidden = self._states(delta)
        logits = self.lm.module("head")(hidden[self.row, self.at])
        nll = torch.nn.functional.cross_entropy(logits, self.token, reduction="none") * self.weight
        fact = self.row // self.per_fact
        nll = torch.zeros(self.count, device=nll.device, dtype=nll.dtype).index_add(0, fact, nll)
        now = self._essence_logprobs(hidden)
        kl = settings.kl_factor * (now.exp() * (now - self.essence_before)).sum(-1)
        decay = settings.weight_decay * delta.norm(dim=-1) / self.initial.norm(dim=-1) ** 2
        return {"loss": nll + kl + decay, "nll": nll, "kl": kl, "decay": decay}


def optimise(lm, facts: list[memory.Fact], contexts: list[str], settings: Settings, batch: int = 8) -> Targets:
    """v* for every fact: Adam on delta from zero, each fact stopping on its own and clamped to its own ball."""
    values, initials, logs = [], [], []
    for start in progress.bar(range(0, len(facts), batch), "targets", "batch"):
        part = facts[start : start + batch]
        rows = _Batch(lm, part, contexts, settings.layer)
        delta, log = _descend(rows, [fact.case_id for fact in part], settings)
        values.append(rows.initial + delta)
        initials.append(rows.initial)
        logs += log
    return Targets(torch.cat(values), torch.cat(initials), pd.DataFrame(logs))


def _descend(rows: _Batch, case_ids: list[int], settings: Settings) -> tuple[torch.Tensor, list[dict]]:
    delta = torch.zeros_like(rows.initial, requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=settings.rate)
    radius = settings.clamp_norm_factor * rows.initial.norm(dim=-1, keepdim=True)
    active = torch.ones(len(case_ids), dtype=torch.bool, device=delta.device)
    log = []
    for step in range(settings.steps):
        with torch.enable_grad():
            parts = rows.losses(delta, settings)
        for i, case_id in enumerate(case_ids):
            if active[i]:
                log.append({"case_id": case_id, "step": step, **{k: float(v[i].detach()) for k, v in parts.items()}})
        active = active & (parts["loss"].detach() >= settings.stop_loss)
        if step == settings.steps - 1 or not active.any():
            break
        (gradient,) = torch.autograd.grad(parts["loss"].sum(), delta)
        before = delta.detach().clone()
        delta.grad = gradient
        optimizer.step()
        with torch.no_grad():  # Adam is elementwise: putting a stopped fact back leaves the others as they are
            norm = delta.norm(dim=-1, keepdim=True)
            delta.mul_(torch.where(norm > radius, radius / norm, torch.ones_like(norm)))
            delta.copy_(torch.where(active[:, None], delta, before))
    return delta.detach(), log
