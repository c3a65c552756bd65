"""MEMIT: many facts at once, stored by least squares in the MLPs of several layers (MEMIT Sec. 4)."""

from engram import memory, spread
from engram.delta import Delta
from engram.spread import Weighted as Settings

NEEDS = ("prefixes", "covariance", "targets")
REGIMES = ("single", "mass", "sequential")
__all__ = ["NEEDS", "REGIMES", "Settings", "edit"]


def edit(lm, facts: list[memory.Fact], settings: Settings, aids) -> Delta:
    """ΔW = R Kᵀ (λC + KKᵀ)⁻¹ in every layer, R = (Z - z) / (layers left). PAPER: MEMIT eq. 14, Algorithm 1.

    In sequence it knows nothing of the facts stored before; `memit-seq` does.
    """
    return spread.edit(lm, facts, settings, aids, spread.weighted(settings, aids, {}))
