"""r-ROME: ROME with one key everywhere, the mean over contexts (Gupta et al. 2024, "Rebuilding ROME").

Shapes: F facts, d values, D keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram.settings.objective import Settings

if TYPE_CHECKING:
    from engram.editing.editor import Aids
    from engram.editing.facts import Fact
    from engram.model.delta import Delta
    from engram.model.loading import LM

NEEDS = ("prefixes", "covariance", "targets")
REGIMES = ("single", "sequential")
__all__ = ["NEEDS", "REGIMES", "Settings", "edit"]


def edit(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> Delta:
    """W += Λ uᵀ for one fact after the other, so that W k̄ = v* for its mean key k̄.

    u = C⁻¹k̄ normed, Λ = (v* - W k̄) / (k̄·u). Keys of a layer do not depend on its own weight, so they are read once.
    ROME as published has the bare prompt's key in Λ.
    """
    from engram.editing import closed_form, subject_keys
    from engram.model.delta import Delta

    keys = subject_keys.fact_keys(lm, settings, facts, aids.contexts).mean
    values = lm.module("value", settings.layer)(keys)
    directions = aids.moments[settings.layer].solve(keys).T
    directions /= directions.norm(dim=1, keepdim=True)
    lacking = aids.values_of(facts, values.double()) - values.double()
    left = closed_form.in_turn(directions, keys, lacking)
    return Delta({settings.layer: closed_form.part(left.T, directions.T, values.dtype)})
