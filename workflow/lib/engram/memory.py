"""The MLP as a memory: keys at the subject, and the values one wants to find there (ROME Sec. 3.1, App. E.5).

Shapes: F facts, C contexts (the first is the bare prompt), B = F * C rows, T tokens, d values, D keys, V vocabulary.
"""

from dataclasses import dataclass

import torch

from engram import scoring, tokens
from engram.hooks import captured, run


@dataclass(frozen=True)
class Fact:
    """One requested change: (subject, prompt with "{}") should be followed by `target`."""

    case_id: int
    subject: str
    prompt: str
    target: str
    true: str | None = None  # the object before the change, where one is known


@dataclass(frozen=True)
class Lookup:
    """A filled text and the token where the subject's key is looked up."""

    ids: list[int]
    position: int


def lookups(tokenizer, fact: Fact, contexts: list[str], extra: tuple[int, ...] = (), token: str = "subject_last") -> list[Lookup]:
    """The fact's prompt in every context, followed by the token ids `extra`; `token` is one of objective.TOKENS.

    A subject at the end of the prompt has no token after it; its last one is taken then, as in the original code.
    ValueError unless the prompt has one "{}".
    """
    templates = [context.replace("{}", fact.prompt) for context in contexts]
    return [Lookup(ids + list(extra), _place(token, begin, end, len(ids)))
            for ids, begin, end in tokens.filled(tokenizer, templates, fact.subject)]


def _place(token: str, begin: int, end: int, length: int) -> int:
    """Where `token` is in a prompt of `length` tokens with the subject at begin .. end - 1."""
    return {"subject_first": begin, "subject_last": end - 1, "subject_first_after_last": min(end, length - 1),
            "last": length - 1}[token]


def essence(tokenizer, fact: Fact, token: str = "subject_last") -> Lookup:
    """The text whose prediction an edit should keep: "{subject} is a", with its looked-up token."""
    return lookups(tokenizer, Fact(fact.case_id, fact.subject, "{} is a", fact.target), ["{}"], token=token)[0]


@torch.no_grad()
def keys_values(lm, layer: int, rows: list[Lookup], batch: int = 512) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys [B, D] and values [B, d] of the MLP's last projection in `layer`, at each row's lookup token."""
    keys, values = [], []
    module = {"value": lm.module("value", layer)}
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        ids, _ = tokens.pad([row.ids for row in part], lm.device)
        at = torch.tensor([row.position for row in part], device=lm.device)
        index = torch.arange(len(part), device=lm.device)
        with captured(module, "input", stop="value") as inputs:
            run(lm.hidden, ids)
        key = inputs["value"][index, at]
        keys.append(key)
        values.append(module["value"](key))
    return torch.cat(keys), torch.cat(values)


@dataclass(frozen=True)
class FactKeys:
    """Keys of F facts at one layer: mean over contexts and bare prompt [F, D], and the value of the bare prompt [F, d]."""

    mean: torch.Tensor
    bare: torch.Tensor
    value: torch.Tensor


def fact_keys(lm, settings, facts: list[Fact], contexts: list[str]) -> FactKeys:
    """k* = mean over the contexts of the key at the looked-up token, of `settings` (layer, token). PAPER: ROME eq. 3."""
    layer = settings.layer
    rows = [row for fact in facts for row in lookups(lm.tokenizer, fact, contexts, token=settings.token)]
    keys, values = keys_values(lm, layer, rows)
    keys, values = keys.unflatten(0, (len(facts), -1)), values.unflatten(0, (len(facts), -1))
    return FactKeys(keys.mean(1), keys[:, 0], values[:, 0])


def target_tokens(tokenizer, fact: Fact) -> tuple[int, ...]:
    return scoring.target_ids(tokenizer, fact.target)
