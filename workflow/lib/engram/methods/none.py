"""The unedited model, the first row of every table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram.settings.blocks import block

if TYPE_CHECKING:
    from engram.editing.editor import Aids
    from engram.editing.facts import Fact
    from engram.model.delta import Delta
    from engram.model.loading import LM

NEEDS: tuple[str, ...] = ()
REGIMES = ("single", "mass", "sequential")


@block
class Settings:
    """No hyperparameters."""


def edit(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> Delta:
    """No change."""
    from engram.model.delta import NOTHING

    return NOTHING
