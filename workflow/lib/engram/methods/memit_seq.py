"""MEMIT for edits in sequence: keys of earlier batches are protected as those of the text are (Gu et al. 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram.settings.objective import Weighted as Settings

if TYPE_CHECKING:
    import torch

    from engram.editing.editor import Aids
    from engram.editing.facts import Fact
    from engram.model.delta import Delta
    from engram.model.loading import LM

NEEDS = ("prefixes", "covariance", "targets")
REGIMES = ("single", "mass", "sequential")
__all__ = ["NEEDS", "REGIMES", "Settings", "edit", "remember"]


def remember(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> dict[int, torch.Tensor]:
    """K_pK_pᵀ [D, D] of every edited layer after `facts`, float64: `aids.earlier` plus their keys in `lm`."""
    from engram.editing import residual_spread

    return residual_spread.remember(lm, facts, settings, aids)


def edit(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> Delta:
    """ΔW = R Kᵀ (λC + K_pK_pᵀ + KKᵀ)⁻¹ in every layer, K_p the keys of earlier batches; MEMIT itself if there were
    none.

    `aids.earlier`, {layer: K_pK_pᵀ}, is what `remember` returned after the batch before, {} for the first.
    """
    from engram.editing import residual_spread

    return residual_spread.edit(lm, facts, settings, aids, residual_spread.weighted(settings, aids, aids.earlier))
