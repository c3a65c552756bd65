"""EMMET: many facts at once under ROME's equality constraint, in one layer (Gupta et al. 2024).

Shapes: F facts, d values, D keys.
"""

from dataclasses import dataclass

from engram.editing import closed_form, subject_keys
from engram.editing.editor import Aids
from engram.editing.facts import Fact
from engram.model.delta import Delta
from engram.model.loading import LM
from engram.settings import objective

NEEDS = ("prefixes", "covariance", "targets")
REGIMES = ("single", "mass", "sequential")


@dataclass(frozen=True, kw_only=True)
class Settings(objective.Settings):
    """Those of the optimised value v*, the weight λ of C, and μ, which loosens the constraint (0: it is met
    exactly).
    """

    clamp_norm_factor: float = 0.75
    covariance_weight: float
    ridge: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        if self.covariance_weight <= 0 or self.ridge < 0:
            raise ValueError(
                f"covariance_weight {self.covariance_weight} must be positive, ridge {self.ridge} not negative"
            )


def edit(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> Delta:
    """ΔW = R (Kᵀ Ĉ⁻¹ K + μI)⁻¹ Kᵀ Ĉ⁻¹ with Ĉ = λC and R = V* - W K, K the mean keys over contexts.

    This is R Kᵀ (λμC + KKᵀ)⁻¹ written for few keys, MEMIT's solution in one layer; one fact with μ = 0 is r-ROME.
    DIFFERS: the authors' code takes R from the block's output at the bare prompt, and the keys with MEMIT's weights;
    here v* is the MLP's and K is averaged as in ROME, so that W'K = V* is what is solved.
    """
    keys = subject_keys.fact_keys(lm, settings, facts, aids.contexts).mean
    values = lm.module("value", settings.layer)(keys).double()
    weight = settings.covariance_weight * settings.ridge
    solution = closed_form.least_squares(aids.moments[settings.layer], weight, keys)
    residual = aids.values_of(facts, values) - values
    return Delta({settings.layer: closed_form.part(residual.T, solution, keys.dtype)})
