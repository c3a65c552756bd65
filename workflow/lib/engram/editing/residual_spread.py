"""Editing several layers in turn: what a fact lacks at the last one is spread over all, each seeing the ones below
edited.

PAPER: MEMIT Sec. 4.3, Algorithm 1. Shapes: F facts, C contexts (the first is the bare prompt), B rows, d values,
D keys.
"""

from contextlib import ExitStack
from dataclasses import dataclass

import torch

from engram.editing import closed_form
from engram.editing.facts import Fact, Lookup, lookups
from engram.model import tokens
from engram.model.block_parts import has_norm_after_mlp
from engram.model.delta import Delta, applied
from engram.model.halving import halving
from engram.model.hooks import call_until_stop, captured
from engram.settings import objective

BATCH = 512  # rows of a forward


@dataclass(frozen=True, kw_only=True)
class Settings(objective.Settings):
    """Hyperparameters of an editor of several layers; `layer` is where the wanted value z lives, the last of `layers`.

    Defaults are the reference's for MEMIT.
    """

    layers: tuple[int, ...]  # edited, from low to high
    contexts: str = "memit"
    site: str = "hidden"
    clamp_norm_factor: float = 0.75

    def __post_init__(self):
        super().__post_init__()
        if not self.layers or list(self.layers) != sorted(set(self.layers)) or self.layers[-1] != self.layer:
            raise ValueError(
                f"layers {list(self.layers)} and layer {self.layer}: right is a rising list that ends with the "
                "layer of the optimised value"
            )


@dataclass(frozen=True, kw_only=True)
class Weighted(Settings):
    """Those, and the weight λ of the mean second moment C."""

    covariance_weight: float

    def __post_init__(self):
        super().__post_init__()
        if self.covariance_weight < 0:
            raise ValueError(f"covariance_weight {self.covariance_weight} must not be negative")


@dataclass(frozen=True)
class Rows:
    """The filled prompts of F facts: bare [F], and in every other context, one context after the other [(C - 1) ·
    F].
    """

    bare: list[Lookup]
    prefixed: list[Lookup]


def rows_of(tokenizer, facts: list[Fact], contexts, token: str = "subject_last") -> Rows:
    """`contexts` are templates, the bare one "{}" first. ValueError if it is not."""
    if not contexts or contexts[0] != "{}":
        raise ValueError(f"contexts {list(contexts)[:2]}…: the first must be the bare prompt, '{{}}'")
    found = [lookups(tokenizer, fact, list(contexts), token=token) for fact in facts]
    return Rows([rows[0] for rows in found], [rows[i] for i in range(1, len(contexts)) for rows in found])


@torch.no_grad()
def looked_up(lm, rows: list[Lookup], layers, output=None, batch: int = BATCH):
    """Keys {layer: [B, D]} of the MLP's last projection in `layers`, at each row's looked-up token, from one forward.

    `output`, a pair (part of the architecture, layer) at or above all of `layers`, is read too: [B, d], else None.
    """
    values = {layer: lm.module("value", layer) for layer in layers}
    above = {} if output is None else {"above": lm.module(*output)}

    def compute(chunk: list[Lookup]):
        ids, _ = tokens.pad([row.ids for row in chunk], lm.device)
        at = torch.arange(len(chunk), device=lm.device), torch.tensor([row.position for row in chunk], device=lm.device)
        with (
            captured(values, "input", None if above else max(layers)) as keys,
            captured(above, stop="above") as outputs,
        ):
            call_until_stop(lm.hidden, ids)
        return {**{layer: keys[layer][at] for layer in layers}, **{name: outputs[name][at] for name in above}}

    parts = list(halving(compute, rows, batch, "row"))
    found = {name: torch.cat([one[name] for one in parts]) for name in parts[0]}
    return {layer: found[layer] for layer in layers}, found.get("above")


def mean_keys(lm, layers, rows: Rows, output=None):
    """Keys {layer: [F, D]} of the facts in float64, and of the bare prompts the `output` as in `looked_up`.

    A key is the mean of the bare prompt's and the mean over the other contexts: weights 1/2 and 1/(2C - 2), as
    published.
    """
    bare, states = looked_up(lm, rows.bare, layers, output)
    keys = {layer: found.double() for layer, found in bare.items()}
    if rows.prefixed:
        others, _ = looked_up(lm, rows.prefixed, layers)
        for layer, found in others.items():
            keys[layer] = (keys[layer] + found.double().unflatten(0, (-1, len(rows.bare))).mean(0)) / 2
    return keys, states


def wanted(facts: list[Fact], targets, like: torch.Tensor) -> torch.Tensor:
    """The optimised values [F, d] of `facts`, from a mapping of case_id to a vector. ValueError naming one that lacks
    its own.
    """
    missing = [fact.case_id for fact in facts if fact.case_id not in targets]
    if missing:
        raise ValueError(f"no optimised value for case {missing[0]} and {len(missing) - 1} more of {len(facts)} facts")
    return torch.stack([targets[fact.case_id].to(like.device) for fact in facts]).to(like.dtype)


def edit(lm, facts: list[Fact], settings: Settings, aids, solution, share=lambda left: 1 / left) -> Delta:
    """The change of all of `settings.layers` that brings the facts to their targets.

    At each layer R = (Z - current) · share(layers left, this one included) is added under the keys, both read in the
    model with the layers below edited, at the bare prompts: ΔW = Rᵀ Xᵀ with X = solution(layer, keys [F, D]), [D, F].
    PAPER: MEMIT Algorithm 1.
    """
    if settings.site == "hidden" and has_norm_after_mlp(lm):
        raise ValueError(
            f"model {lm.name} norms what its MLPs return, so what a block's output lacks is not what its MLP's last "
            "projection lacks; right is `site: mlp`"
        )
    rows = rows_of(lm.tokenizer, facts, aids.contexts, settings.token)
    output = ("block" if settings.site == "hidden" else "mlp", settings.layer)
    parts = {}
    with ExitStack() as below:
        for index, layer in enumerate(settings.layers):
            keys, current = mean_keys(lm, [layer], rows, output)
            lacking = wanted(facts, aids.targets, current.double()) - current.double()
            residual = lacking.T * share(len(settings.layers) - index)
            parts[layer] = closed_form.part(residual, solution(layer, keys[layer]), current.dtype)
            if layer != settings.layers[-1]:
                below.enter_context(applied(lm, Delta({layer: parts[layer]})))
    return Delta(parts)


def weighted(settings: Weighted, aids, earlier: dict[int, torch.Tensor]):
    """The solution of MEMIT for `edit`: least squares against λC, and against the keys of earlier batches {layer: [D,
    D]}.
    """
    weight = settings.covariance_weight
    return lambda layer, keys: closed_form.least_squares(aids.moments[layer], weight, keys, earlier.get(layer))


def remember(lm, facts: list[Fact], settings: Settings, aids) -> dict[int, torch.Tensor]:
    """K_pK_pᵀ of every edited layer after `facts`: that of `aids.earlier` and their keys in `lm`, the model as edited
    by now.

    {layer: [D, D]}, float64. PAPER: AlphaEdit Sec. 3.3, whose code reads the keys after each edit, too.
    """
    keys, _ = mean_keys(lm, settings.layers, rows_of(lm.tokenizer, facts, aids.contexts, settings.token))
    return {
        layer: found.T @ found + (aids.earlier[layer].to(found) if aids.earlier else 0) for layer, found in keys.items()
    }
