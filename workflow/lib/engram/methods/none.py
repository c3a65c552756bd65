"""The unedited model, the first row of every table."""

from dataclasses import dataclass

from engram.editing.editor import Aids
from engram.editing.facts import Fact
from engram.model.delta import NOTHING, Delta
from engram.model.loading import LM

NEEDS: tuple[str, ...] = ()
REGIMES = ("single", "mass", "sequential")


@dataclass(frozen=True)
class Settings:
    """No hyperparameters."""


def edit(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> Delta:
    """No change."""
    return NOTHING
