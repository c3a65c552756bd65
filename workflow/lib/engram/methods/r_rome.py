"""r-ROME: ROME with one key everywhere, the mean over contexts (Gupta et al. 2024, "Rebuilding ROME").

Shapes: F facts, d values, D keys.
"""

from engram.editing import closed_form, residual_spread, second_moment, subject_keys
from engram.editing.facts import Fact
from engram.model.delta import Delta
from engram.settings.objective import Settings

NEEDS = ("prefixes", "covariance", "targets")
REGIMES = ("single", "sequential")
__all__ = ["NEEDS", "REGIMES", "Settings", "edit"]


def edit(lm, facts: list[Fact], settings: Settings, aids) -> Delta:
    """W += Λ uᵀ for one fact after the other, so that W k̄ = v* for its mean key k̄; u = C⁻¹k̄ normed, Λ = (v* - W k̄)
    / (k̄·u).

    Keys of a layer do not depend on its own weight, so they are read once. ROME as published has the bare prompt's key
    in Λ.
    """
    keys = subject_keys.fact_keys(lm, settings, facts, list(aids.contexts)).mean
    values = lm.module("value", settings.layer)(keys)
    directions = second_moment.solve(aids.moments[settings.layer], keys).T
    directions /= directions.norm(dim=1, keepdim=True)
    left = closed_form.in_turn(
        directions, keys, residual_spread.wanted(facts, aids.targets, values.double()) - values.double()
    )
    return Delta({settings.layer: closed_form.part(left.T, directions.T, values.dtype)})
