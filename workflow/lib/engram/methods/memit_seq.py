"""MEMIT for edits in sequence: keys of earlier batches are protected as those of the text are (Gu et al. 2024)."""

from engram import memory, spread
from engram.delta import Delta
from engram.spread import Weighted as Settings
from engram.spread import remember

NEEDS = ("prefixes", "covariance", "targets")
REGIMES = ("single", "mass", "sequential")
__all__ = ["NEEDS", "REGIMES", "Settings", "edit", "remember"]


def edit(lm, facts: list[memory.Fact], settings: Settings, aids) -> Delta:
    """ΔW = R Kᵀ (λC + K_pK_pᵀ + KKᵀ)⁻¹ in every layer, K_p the keys of earlier batches; MEMIT itself if there were none.

    `aids.earlier`, {layer: K_pK_pᵀ}, is what `remember` returned after the batch before, {} for the first.
    """
    return spread.edit(lm, facts, settings, aids, spread.weighted(settings, aids, aids.earlier))
