"""The MLP as a memory: keys read where facts look their subject up, as ROME and as MEMIT average them over contexts.

Keys are inputs of an MLP's last projection, values its outputs (ROME Sec. 3.1). The values that facts should get are
engram.editing.values. Shapes: F facts, C contexts (the first is the bare prompt), B rows, T tokens, d values, D keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engram.editing.facts import Fact, Lookup, lookups
from engram.model import tokens
from engram.model.halving import halving
from engram.model.hooks import call_until_stop, captured
from engram.model.loading import LM
from engram.settings import objective

BATCH = 512  # rows of a forward


Output = tuple[str, int]  # whose output is read: (part of the architecture, layer), e.g. ("mlp", 3)


@torch.no_grad()
def keys_at(
    lm: LM, rows: list[Lookup], layers: Sequence[int], output: Output | None = None, batch: int = BATCH
) -> tuple[dict[int, torch.Tensor], dict[Output, torch.Tensor]]:
    """Keys {layer: [B, D]} of `layers` at each row's looked-up token, from one forward per `batch` rows.

    `output`, at or above all of `layers`, is read there too: the second result is {output: [B, d]}, {} without one.
    """
    values = {layer: lm.module("value", layer) for layer in layers}
    above = {} if output is None else {output: lm.module(*output)}

    def compute(chunk: Sequence[Lookup]) -> tuple[dict[int, torch.Tensor], dict[Output, torch.Tensor]]:
        ids, _ = tokens.pad([row.ids for row in chunk], lm.device)
        at = torch.arange(len(chunk), device=lm.device), torch.tensor([row.position for row in chunk], device=lm.device)
        with captured(values, "input", None if above else max(layers)) as keys, captured(above, stop=output) as outputs:
            call_until_stop(lm.hidden, ids)
        return {layer: keys[layer][at] for layer in layers}, {name: outputs[name][at] for name in above}

    parts = list(halving(compute, rows, batch, "row"))
    keys = {layer: torch.cat([part[layer] for part, _ in parts]) for layer in layers}
    return keys, {name: torch.cat([part[name] for _, part in parts]) for name in above}


@dataclass(frozen=True)
class FactKeys:
    """What ROME reads of F facts at one layer: the mean key over contexts, the key and the value of the bare prompt."""

    mean: torch.Tensor  # [F, D], the bare prompt counted among the contexts
    bare: torch.Tensor  # [F, D]
    value: torch.Tensor  # [F, d]


def fact_keys(lm: LM, settings: objective.Settings, facts: list[Fact], contexts: Sequence[str]) -> FactKeys:
    """What ROME reads of every fact, in the layer and at the token of `settings`.

    k* is the mean of its keys over `contexts`, templates with the bare one, "{}", first. PAPER: ROME eq. 3.
    """
    layer = settings.layer
    rows = [row for fact in facts for row in lookups(lm.tokenizer, fact, contexts, token=settings.token)]
    keys = keys_at(lm, rows, [layer])[0][layer]
    with torch.no_grad():
        values = torch.cat([lm.module("value", layer)(part) for part in keys.split(BATCH)])
    keys, values = keys.unflatten(0, (len(facts), -1)), values.unflatten(0, (len(facts), -1))
    return FactKeys(keys.mean(1), keys[:, 0], values[:, 0])


@dataclass(frozen=True)
class Rows:
    """The filled prompts of F facts: bare [F], and in the other contexts, one context after the other [(C - 1)·F]."""

    bare: list[Lookup]
    prefixed: list[Lookup]


def rows_of(lm: LM, facts: list[Fact], contexts: Sequence[str], token: str) -> Rows:
    """The prompts of `facts` in every one of `contexts`, looked up at `token`.

    `contexts` are templates; ValueError unless the bare one, "{}", is first.
    """
    if not contexts or contexts[0] != "{}":
        raise ValueError(f"contexts {list(contexts)[:2]}…: the first must be the bare prompt, '{{}}'")
    rows = [lookups(lm.tokenizer, fact, contexts, token=token) for fact in facts]
    return Rows([row[0] for row in rows], [row[i] for i in range(1, len(contexts)) for row in rows])


def weighted_keys(
    lm: LM, layers: Sequence[int], rows: Rows, output: Output | None = None
) -> tuple[dict[int, torch.Tensor], dict[Output, torch.Tensor]]:
    """MEMIT's keys {layer: [F, D]} of the facts in float64, and what `keys_at` reads of `output` at the bare prompts.

    A key is the mean of the bare prompt's and the mean over the other contexts: weights 1/2 and 1/(2C - 2), as
    published.
    """
    bare, outputs = keys_at(lm, rows.bare, layers, output)
    means = {layer: keys.double() for layer, keys in bare.items()}
    if rows.prefixed:
        prefixed, _ = keys_at(lm, rows.prefixed, layers)
        for layer, keys in prefixed.items():
            means[layer] = (means[layer] + keys.double().unflatten(0, (-1, len(rows.bare))).mean(0)) / 2
    return means, outputs
