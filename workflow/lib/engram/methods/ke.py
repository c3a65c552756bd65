"""KE: a learner that has read the edit scales, shifts and gates its gradient (ROME App. E.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram.settings.blocks import Positive, block, key

if TYPE_CHECKING:
    from engram.editing.editor import Aids
    from engram.editing.facts import Fact
    from engram.model.delta import Delta
    from engram.model.loading import LM

NEEDS: tuple[str, ...] = ("hypernet",)
REGIMES: tuple[str, ...] = ("single",)


@block
class Settings:
    """Hyperparameters of the edit; those of the learner are in its artifact."""

    lr_scale: Positive = key("Factor of the change of weights.", default=1.0)


def edit(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> Delta:
    """The change for one fact, in every MLP map of the last layers.

    ValueError for more than one fact, or one that the learner was trained on.
    """
    from engram.editing.trained_editors import editors

    if len(facts) != 1:
        raise ValueError(f"ke edits one fact at a time, asked for {len(facts)}")
    return editors.edit(lm, "ke", facts, settings.lr_scale, aids.hypernet)
