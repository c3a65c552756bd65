"""AlphaEdit: MEMIT's layers, changed only where the keys of text have next to no weight (Fang et al. 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram.settings.blocks import Positive, block, key
from engram.settings.objective import Layers

if TYPE_CHECKING:
    import torch

    from engram.editing.editor import Aids
    from engram.editing.facts import Fact
    from engram.model.delta import Delta
    from engram.model.loading import LM

NEEDS = ("prefixes", "covariance", "targets")
REGIMES = ("single", "mass", "sequential")
__all__ = ["NEEDS", "REGIMES", "Settings", "edit", "remember"]


@block
class Settings(Layers):
    """Hyperparameters of the optimised value, of the layers, and of the null space of C."""

    threshold: Positive = key(
        "Directions of C with smaller eigenvalues may be used; in the unit of squared keys, as C.", default=0.02
    )
    ridge: Positive = key("Weight of |dW|^2: the paper's L2.", default=10.0)


def remember(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> dict[int, torch.Tensor]:
    """K_pK_pᵀ [D, D] of every edited layer after `facts`, float64: `aids.earlier` plus their keys in `lm`."""
    from engram.editing import residual_spread

    return residual_spread.remember(lm, facts, settings, aids)


def edit(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> Delta:
    """ΔWᵀ = (P(KKᵀ + K_pK_pᵀ) + L₂I)⁻¹ P K Rᵀ in every layer, P the projection onto the null space of C, K_p the
    earlier keys.

    `aids.earlier`, {layer: K_pK_pᵀ}, is what `remember` returned after the batch before, {} for the first. PAPER:
    AlphaEdit Sec. 3.3. DIFFERS: float64, and the keys of earlier batches are those of the model right after each batch,
    as in the code.
    """
    from engram.editing import closed_form, residual_spread

    def solution(layer: int, keys: torch.Tensor) -> torch.Tensor:
        space = closed_form.null_space(aids.moments[layer], settings.threshold, keys.device)
        return closed_form.projected(space, settings.ridge, keys, aids.earlier.get(layer))

    return residual_spread.edit(lm, facts, settings, aids, solution)
