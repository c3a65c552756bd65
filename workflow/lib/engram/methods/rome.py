"""ROME: a rank-one edit of one MLP projection that stores a new value under the subject's key (ROME Sec. 3.1).

Shapes: F facts, d values, D keys.
"""

from engram.editing import closed_form, residual_spread, second_moment, subject_keys
from engram.editing.facts import Fact
from engram.model.delta import Delta
from engram.settings.objective import Settings

NEEDS = ("prefixes", "covariance", "targets")
REGIMES = ("single", "sequential")
__all__ = ["NEEDS", "REGIMES", "Settings", "edit", "edit_each"]


def edit(lm, facts: list[Fact], settings: Settings, aids) -> Delta:
    """W += Λ uᵀ for one fact after the other, so that W k = v* for the key k of its bare prompt.

    PAPER: ROME eq. 2. DIFFERS: as published, u is C⁻¹ of the mean key over contexts while Λ uses the key of the bare
    prompt.
    """
    keys, directions, lacking = _parts(lm, facts, settings, aids)
    left = closed_form.in_turn(directions, keys.bare, lacking)
    return Delta({settings.layer: closed_form.part(left.T, directions.T, keys.value.dtype)})


def edit_each(lm, facts: list[Fact], settings: Settings, aids) -> list[Delta]:
    """`edit` of every fact alone; keys of all facts are read together."""
    keys, directions, lacking = _parts(lm, facts, settings, aids)
    left = lacking / (keys.bare.double() * directions).sum(1, keepdim=True)
    return [
        Delta({settings.layer: (one[:, None].to(keys.value), u[:, None].to(keys.value))})
        for one, u in zip(left, directions)
    ]


def _parts(lm, facts, settings, aids):
    """Keys, unit directions u [F, D] and what the values lack [F, d], in float64. Keys of a layer do not depend on its
    weight.
    """
    keys = subject_keys.fact_keys(lm, settings, facts, list(aids.contexts))
    directions = second_moment.solve(aids.moments[settings.layer], keys.mean).T
    directions = directions / directions.norm(dim=1, keepdim=True)
    return keys, directions, residual_spread.wanted(facts, aids.targets, keys.value.double()) - keys.value.double()
