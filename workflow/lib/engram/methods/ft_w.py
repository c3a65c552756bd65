"""FT-W: fine-tuning of a whole block with weight decay, the baseline of mass edits (MEMIT Sec. 5.1, App. B)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engram.settings.tuning import Settings

if TYPE_CHECKING:
    from engram.editing.editor import Aids
    from engram.editing.facts import Fact
    from engram.model.delta import Delta
    from engram.model.loading import LM

NEEDS: tuple[str, ...] = ()
REGIMES = ("single", "mass", "sequential")
__all__ = ["NEEDS", "REGIMES", "Settings", "edit"]


def edit(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> Delta:
    """Dense changes of every parameter of the block, layer norms and biases among them, as published."""
    from engram.editing.tuning import finetune

    return finetune.tune(lm, facts, finetune.block_names(lm, settings.layer), settings)
