"""AttnEdit: constrained fine-tuning of a late attention's query, key and value projections (ROME App. I)."""

from engram import abreast, finetune, memory
from engram.delta import Delta
from engram.finetune import Settings

NEEDS: tuple[str, ...] = ()
REGIMES = ("single", "mass", "sequential")
__all__ = ["NEEDS", "REGIMES", "Settings", "edit", "edit_each"]


def edit(lm, facts: list[memory.Fact], settings: Settings, aids) -> Delta:
    """Dense changes of the projections' weights and biases: `c_attn` of a GPT-2, three or one of other architectures."""
    return finetune.tune(lm, facts, finetune.attention_names(lm, settings.layer), settings)


def edit_each(lm, facts: list[memory.Fact], settings: Settings, aids) -> list[Delta]:
    """`edit` of every fact alone, several side by side."""
    return abreast.tune_each(lm, facts, finetune.attention_names(lm, settings.layer), settings)
