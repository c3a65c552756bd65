"""PMET: MEMIT's layers with values of the MLP alone and a residual that shrinks more slowly (Li et al. 2024).

DIFFERS: the authors optimise a change of the attention's output together with the MLP's and keep the MLP's part, and
end a fact on its own KL; here v* is what the MLP alone should return (site `mlp` of engram.settings.objective), as in
ROME. Everything after that is PMET's: where the residual is read, how it is spread, the solution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from engram.settings.blocks import block, key
from engram.settings.objective import Weighted

if TYPE_CHECKING:
    from engram.editing.editor import Aids
    from engram.editing.facts import Fact
    from engram.model.delta import Delta
    from engram.model.loading import LM

NEEDS = ("prefixes", "covariance", "targets")
REGIMES = ("single", "mass", "sequential")


@block
class Settings(Weighted):
    """MEMIT's hyperparameters; the value is the MLP's output in `layer`."""

    site: Literal["mlp", "hidden"] = key(
        "What is optimised: the output of the MLP or of the whole block.", default="mlp"
    )


def edit(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> Delta:
    """ΔW = R Kᵀ (λC + KKᵀ)⁻¹ in every layer, R = (V* - v) / √(layers left), v the MLP's output in the last one."""
    from engram.editing import residual_spread

    return residual_spread.edit(
        lm, facts, settings, aids, residual_spread.weighted(settings, aids, {}), share=lambda left: left**-0.5
    )
