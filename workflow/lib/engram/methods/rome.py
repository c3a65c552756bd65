"""ROME: a rank-one edit of one MLP projection that stores a new value under the subject's key (ROME Sec. 3.1).

Shapes: F facts, d values, D keys.

C is summed in engram.editing.covariance, v* optimised in engram.editing.values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram.settings.objective import Settings

if TYPE_CHECKING:
    import torch

    from engram.editing.editor import Aids
    from engram.editing.facts import Fact
    from engram.editing.subject_keys import FactKeys
    from engram.model.delta import Delta
    from engram.model.loading import LM

NEEDS = ("prefixes", "covariance", "targets")
REGIMES = ("single", "sequential")
__all__ = ["NEEDS", "REGIMES", "Settings", "edit", "edit_each"]


def edit(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> Delta:
    """W += Λ uᵀ for one fact after the other, so that W k = v* for the key k of its bare prompt.

    PAPER: ROME eq. 2. DIFFERS: as published, u is C⁻¹ of the mean key over contexts while Λ uses the key of the bare
    prompt.
    """
    from engram.editing import closed_form
    from engram.model.delta import Delta

    keys, directions, lacking = _parts(lm, facts, settings, aids)
    left = closed_form.in_turn(directions, keys.bare, lacking)
    return Delta({settings.layer: closed_form.part(left.T, directions.T, keys.value.dtype)})


def edit_each(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> list[Delta]:
    """For every fact the change that `edit` makes for it alone; the keys of all facts are read together."""
    from engram.model.delta import Delta

    keys, directions, lacking = _parts(lm, facts, settings, aids)
    left = lacking / (keys.bare.double() * directions).sum(1, keepdim=True)
    return [
        Delta({settings.layer: (side[:, None].to(keys.value), direction[:, None].to(keys.value))})
        for side, direction in zip(left, directions)
    ]


def _parts(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> tuple[FactKeys, torch.Tensor, torch.Tensor]:
    """The facts' keys, unit directions u [F, D] and what the values lack [F, d], the latter two in float64.

    Keys of a layer do not depend on its own weight, so they hold for every fact in turn.
    """
    from engram.editing import subject_keys

    keys = subject_keys.fact_keys(lm, settings, facts, aids.contexts)
    directions = aids.moments[settings.layer].solve(keys.mean).T
    directions = directions / directions.norm(dim=1, keepdim=True)
    return keys, directions, aids.values_of(facts, keys.value.double()) - keys.value.double()
