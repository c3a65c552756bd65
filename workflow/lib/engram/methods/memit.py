"""MEMIT: many facts at once, stored by least squares in the MLPs of several layers (MEMIT Sec. 4).

C is summed in engram.editing.covariance, z optimised in engram.editing.values, the residual spread over the layers in
engram.editing.residual_spread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram.settings.objective import Weighted as Settings

if TYPE_CHECKING:
    from engram.editing.editor import Aids
    from engram.editing.facts import Fact
    from engram.model.delta import Delta
    from engram.model.loading import LM

NEEDS = ("prefixes", "covariance", "targets")
REGIMES = ("single", "mass", "sequential")
__all__ = ["NEEDS", "REGIMES", "Settings", "edit"]


def edit(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> Delta:
    """ΔW = R Kᵀ (λC + KKᵀ)⁻¹ in every layer, R = (Z - z) / (layers left). PAPER: MEMIT eq. 14, Algorithm 1.

    In sequence it knows nothing of the facts stored before; `memit-seq` does.
    """
    from engram.editing import residual_spread

    return residual_spread.edit(lm, facts, settings, aids, residual_spread.weighted(settings, aids, {}))
