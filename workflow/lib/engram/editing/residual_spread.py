"""Editing several layers: what a fact lacks at the last one is spread over all, each seeing the ones below edited.

PAPER: MEMIT Sec. 4.3, Algorithm 1. Keys are read by engram.editing.subject_keys, a layer's equation is solved by
engram.editing.closed_form. Shapes: F facts, d values, D keys.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack

import torch

from engram.editing import closed_form, subject_keys
from engram.editing.editor import Aids
from engram.editing.facts import Fact
from engram.model.block_parts import has_norm_after_mlp
from engram.model.delta import Delta, applied
from engram.model.loading import LM
from engram.settings.objective import Layers as Settings
from engram.settings.objective import Weighted

Solution = Callable[[int, torch.Tensor], torch.Tensor]  # (layer, keys [F, D]) -> X [D, F]


def edit(
    lm: LM,
    facts: list[Fact],
    settings: Settings,
    aids: Aids,
    solution: Solution,
    share: Callable[[int], float] = lambda left: 1 / left,
) -> Delta:
    """The change of all of `settings.layers` that brings the facts to their optimised values.

    At each layer R = (Z - current) · share(layers left, this one included) is added under the keys, both read in the
    model with the layers below edited, at the bare prompts: ΔW = Rᵀ Xᵀ with X = solution(layer, keys [F, D]), [D, F].
    ValueError for a fact without an optimised value, or for `site: hidden` where a norm stands behind the MLP.
    PAPER: MEMIT Algorithm 1.
    """
    if settings.site == "hidden" and has_norm_after_mlp(lm):
        raise ValueError(
            f"model {lm.name} norms what its MLPs return, so what a block's output lacks is not what its MLP's last "
            "projection lacks; right is `site: mlp`"
        )
    rows = subject_keys.rows_of(lm, facts, aids.contexts, settings.token)
    output = ("block" if settings.site == "hidden" else "mlp", settings.layer)
    delta = Delta({})
    with ExitStack() as below:
        for index, layer in enumerate(settings.layers):
            keys, outputs = subject_keys.weighted_keys(lm, [layer], rows, output)
            current = outputs[output]
            lacking = aids.values_of(facts, current.double()) - current.double()
            residual = lacking.T * share(len(settings.layers) - index)
            change = Delta({layer: closed_form.part(residual, solution(layer, keys[layer]), current.dtype)})
            delta += change
            if layer != settings.layers[-1]:
                below.enter_context(applied(lm, change))
    return delta


def weighted(settings: Weighted, aids: Aids, earlier: Mapping[int, torch.Tensor]) -> Solution:
    """MEMIT's solution for `edit`: least squares against λC and, by layer, K_pK_pᵀ [D, D] of the earlier batches."""
    weight = settings.covariance_weight
    return lambda layer, keys: closed_form.least_squares(aids.moments[layer], weight, keys, earlier.get(layer))


def remember(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> dict[int, torch.Tensor]:
    """K_pK_pᵀ [D, D] of every edited layer after `facts`, float64: `aids.earlier` plus their keys in `lm`.

    `lm` is the model as edited by now. PAPER: AlphaEdit Sec. 3.3, whose code reads the keys after each edit, too.
    """
    rows = subject_keys.rows_of(lm, facts, aids.contexts, settings.token)
    all_keys, _ = subject_keys.weighted_keys(lm, settings.layers, rows)
    return {
        layer: keys.T @ keys + (aids.earlier[layer].to(keys) if aids.earlier else 0) for layer, keys in all_keys.items()
    }
