"""MEND: a trained network rewrites the gradient of each fact, token by token (ROME App. E.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram.settings.blocks import Positive, block, key

if TYPE_CHECKING:
    from engram.editing.editor import Aids
    from engram.editing.facts import Fact
    from engram.model.delta import Delta
    from engram.model.loading import LM

NEEDS: tuple[str, ...] = ("hypernet",)
REGIMES: tuple[str, ...] = ("single", "mass")


@block
class Settings:
    """Hyperparameters of the edit; those of the network are in its artifact."""

    lr_scale: Positive = key("Factor of the change of weights.", default=1.0)


def edit(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> Delta:
    """One low-rank change per MLP map of the last layers, summed over the facts. ValueError for a fact trained on.

    DIFFERS: the published code takes one gradient of the mean loss over all facts; here each fact has its own, as it
    was trained, so that a change does not shrink with the number of facts.
    """
    from engram.editing.trained_editors import editors

    return editors.edit(lm, "mend", facts, settings.lr_scale, aids.hypernet)
