"""The unedited model, the first row of every table."""

from dataclasses import dataclass

from engram.model.delta import NOTHING, Delta

NEEDS: tuple[str, ...] = ()
REGIMES = ("single", "mass", "sequential")


@dataclass(frozen=True)
class Settings:
    """No hyperparameters."""


def edit(lm, facts, settings: Settings, aids) -> Delta:
    """No change."""
    return NOTHING
