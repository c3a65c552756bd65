"""KE: a learner that has read the edit scales, shifts and gates its gradient (ROME App. E.3)."""

from dataclasses import dataclass

from engram.editing.editor import Aids
from engram.editing.facts import Fact
from engram.editing.hypernet import editors
from engram.model.delta import Delta
from engram.model.loading import LM

NEEDS: tuple[str, ...] = ("hypernet",)
REGIMES: tuple[str, ...] = ("single",)


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of the edit; those of the learner are in its artifact."""

    lr_scale: float = 1.0


def edit(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> Delta:
    """The change for one fact, in every MLP map of the last layers. ValueError for more than one, or a fact trained
    on.
    """
    if len(facts) != 1:
        raise ValueError(f"ke edits one fact at a time, asked for {len(facts)}")
    return editors.edit(lm, "ke", facts, settings.lr_scale, aids.hypernet)
