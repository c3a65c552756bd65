"""EMMET: many facts at once under ROME's equality constraint, in one layer (Gupta et al. 2024).

Shapes: F facts, d values, D keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram.settings import objective
from engram.settings.blocks import NotNegative, Positive, block, key

if TYPE_CHECKING:
    from engram.editing.editor import Aids
    from engram.editing.facts import Fact
    from engram.model.delta import Delta
    from engram.model.loading import LM

NEEDS = ("prefixes", "covariance", "targets")
REGIMES = ("single", "mass", "sequential")


@block
class Settings(objective.Settings):
    """Hyperparameters of the optimised value v* and of the solution in one layer."""

    clamp_norm_factor: Positive = key("Largest |delta| as a multiple of |v0|.", default=0.75)
    covariance_weight: Positive = key("Lambda: weight of the mean second moment C.", kw_only=True)
    ridge: NotNegative = key(
        "Mu, times lambda C: how far the constraint may be missed; 0: it is met exactly.", default=0.1
    )


def edit(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> Delta:
    """ΔW = R (Kᵀ Ĉ⁻¹ K + μI)⁻¹ Kᵀ Ĉ⁻¹ with Ĉ = λC and R = V* - W K, K the mean keys over contexts.

    This is R Kᵀ (λμC + KKᵀ)⁻¹ written for few keys, MEMIT's solution in one layer; one fact with μ = 0 is r-ROME.
    DIFFERS: the authors' code takes R from the block's output at the bare prompt, and the keys with MEMIT's weights;
    here v* is the MLP's and K is averaged as in ROME, so that W'K = V* is what is solved.
    """
    from engram.editing import closed_form, subject_keys
    from engram.model.delta import Delta

    keys = subject_keys.fact_keys(lm, settings, facts, aids.contexts).mean
    values = lm.module("value", settings.layer)(keys).double()
    weight = settings.covariance_weight * settings.ridge
    solution = closed_form.least_squares(aids.moments[settings.layer], weight, keys)
    residual = aids.values_of(facts, values) - values
    return Delta({settings.layer: closed_form.part(residual.T, solution, keys.dtype)})
