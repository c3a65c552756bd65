"""AlphaEdit: MEMIT's layers, changed only where the keys of text have next to no weight (Fang et al. 2025)."""

from dataclasses import dataclass

import torch

from engram.editing import closed_form, residual_spread
from engram.editing.editor import Aids
from engram.editing.facts import Fact
from engram.editing.residual_spread import remember
from engram.model.delta import Delta
from engram.model.loading import LM

NEEDS = ("prefixes", "covariance", "targets")
REGIMES = ("single", "mass", "sequential")
__all__ = ["NEEDS", "REGIMES", "Settings", "edit", "remember"]


@dataclass(frozen=True, kw_only=True)
class Settings(residual_spread.Settings):
    """Those of the optimised value and of the layers; `threshold` has the unit of the squared keys, as C has."""

    threshold: float = 0.02  # directions of C with smaller eigenvalues may be used
    ridge: float = 10.0  # weight of ‖ΔW‖²: the paper's L2

    def __post_init__(self):
        super().__post_init__()
        if self.threshold <= 0 or self.ridge <= 0:
            raise ValueError(f"threshold {self.threshold} and ridge {self.ridge} must be positive")


def edit(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> Delta:
    """ΔWᵀ = (P(KKᵀ + K_pK_pᵀ) + L₂I)⁻¹ P K Rᵀ in every layer, P the projection onto the null space of C, K_p the
    earlier keys.

    `aids.earlier`, {layer: K_pK_pᵀ}, is what `remember` returned after the batch before, {} for the first. PAPER:
    AlphaEdit Sec. 3.3. DIFFERS: float64, and the keys of earlier batches are those of the model right after each batch,
    as in the code.
    """

    def solution(layer: int, keys: torch.Tensor) -> torch.Tensor:
        space = closed_form.null_space(aids.moments[layer], settings.threshold, keys.device)
        return closed_form.projected(space, settings.ridge, keys, aids.earlier.get(layer))

    return residual_spread.edit(lm, facts, settings, aids, solution)
