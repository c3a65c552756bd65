"""ROME: a rank-one edit of one MLP projection that stores a new value under the subject's key (ROME Sec. 3.1).

Shapes: F facts, d values, D keys.
"""

import torch

from engram import covariance, memory
from engram.delta import Delta
from engram.targets import Settings

NEEDS = ("prefixes", "covariance", "targets")
__all__ = ["NEEDS", "Settings", "edit"]


def edit(lm, facts: list[memory.Fact], settings: Settings, aids) -> list[Delta]:
    """One delta per fact, each on a fresh model: W += Λ uᵀ, so that W k = v* for the key k of the bare prompt.

    PAPER: ROME eq. 2. DIFFERS: as published, u is C⁻¹ of the mean key over contexts while Λ uses the key of the bare prompt.
    """
    keys = memory.fact_keys(lm, settings.layer, facts, list(aids.contexts))
    directions = covariance.solve(aids.moments[settings.layer], keys.mean).T.to(keys.mean)
    deltas = []
    for direction, key, value, wanted in zip(directions, keys.bare, keys.value, aids.targets):
        u = direction / direction.norm()
        left = (wanted - value) / torch.dot(key, u)
        deltas.append(Delta({settings.layer: (left[:, None], u[:, None])}))
    return deltas
