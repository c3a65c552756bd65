"""The MLP as a memory: keys at the subject, and the values one wants to find there (ROME Sec. 3.1, App. E.5).

Shapes: F facts, C contexts (the first is the bare prompt), B = F * C rows, T tokens, d values, D keys, V vocabulary.
"""

from dataclasses import dataclass

import torch

from engram.editing.facts import Fact, Lookup, lookups
from engram.model import tokens
from engram.model.hooks import call_until_stop, captured


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
            call_until_stop(lm.hidden, ids)
        key = inputs["value"][index, at]
        keys.append(key)
        values.append(module["value"](key))
    return torch.cat(keys), torch.cat(values)


@dataclass(frozen=True)
class FactKeys:
    """Keys of F facts at one layer: mean over contexts and bare prompt [F, D], and the value of the bare prompt [F,
    d].
    """

    mean: torch.Tensor
    bare: torch.Tensor
    value: torch.Tensor


def fact_keys(lm, settings, facts: list[Fact], contexts: list[str]) -> FactKeys:
    """k* = mean over the contexts of the key at the looked-up token, of `settings` (layer, token). PAPER: ROME eq.
    3.
    """
    layer = settings.layer
    rows = [row for fact in facts for row in lookups(lm.tokenizer, fact, contexts, token=settings.token)]
    keys, values = keys_values(lm, layer, rows)
    keys, values = keys.unflatten(0, (len(facts), -1)), values.unflatten(0, (len(facts), -1))
    return FactKeys(keys.mean(1), keys[:, 0], values[:, 0])
