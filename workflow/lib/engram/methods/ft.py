"""FT and FT+L: fine-tuning of one MLP's last projection, free or in a small box (ROME Sec. 3.1, App. E.1; Zhu et al. 2020)."""

from engram import abreast, finetune, memory
from engram.delta import Delta
from engram.finetune import Settings

NEEDS: tuple[str, ...] = ()
REGIMES = ("single", "mass", "sequential")
__all__ = ["NEEDS", "REGIMES", "Settings", "edit", "edit_each"]


def edit(lm, facts: list[memory.Fact], settings: Settings, aids) -> Delta:
    """Dense changes of the projection's weight and, where the architecture has one, its bias, as published."""
    return finetune.tune(lm, facts, finetune.value_names(lm, settings.layer), settings)


def edit_each(lm, facts: list[memory.Fact], settings: Settings, aids) -> list[Delta]:
    """`edit` of every fact alone, several side by side."""
    return abreast.tune_each(lm, facts, finetune.value_names(lm, settings.layer), settings)
