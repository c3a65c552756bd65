"""AttnEdit: constrained fine-tuning of a late attention's query, key and value projections (ROME App. I)."""

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
    """Dense changes of the projections' weights and biases: `c_attn` of a GPT-2, three or one of other
    architectures.
    """
    from engram.editing.tuning import finetune

    return finetune.tune(lm, facts, finetune.attention_names(lm, settings.layer), settings)


def edit_each(lm: LM, facts: list[Fact], settings: Settings, aids: Aids) -> list[Delta]:
    """For every fact the change that `edit` makes for it alone; several are tuned side by side."""
    from engram.editing.tuning import batched_finetune, finetune

    return batched_finetune.tune_each(lm, facts, finetune.attention_names(lm, settings.layer), settings)
