"""FT and FT+L: fine-tuning of one MLP's last projection, free or in a small box (ROME App. E.1; Zhu et al. 2020)."""

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
__all__ = ["NEEDS", "REGIMES", "Settings", "edit", "edit_each"]


def edit(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> Delta:
    """Dense changes of the projection's weight and, where the architecture has one, its bias, as published."""
    from engram.editing.tuning import finetune

    return finetune.tune(lm, facts, finetune.value_names(lm, settings.layer), settings)


def edit_each(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> list[Delta]:
    """For every fact the change that `edit` makes for it alone; several are tuned side by side."""
    from engram.editing.tuning import batched_finetune, finetune

    return batched_finetune.tune_each(lm, facts, finetune.value_names(lm, settings.layer), settings)
