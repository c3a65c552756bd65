"""FT-W: fine-tuning of a whole block with weight decay, the baseline of mass edits (MEMIT Sec. 5.1, App. B)."""

from engram import finetune, memory
from engram.delta import Delta
from engram.finetune import Settings

NEEDS: tuple[str, ...] = ()
REGIMES = ("single", "mass", "sequential")
__all__ = ["NEEDS", "REGIMES", "Settings", "edit"]


def edit(lm, facts: list[memory.Fact], settings: Settings, aids) -> Delta:
    """Dense changes of every parameter of the block, layer norms and biases among them, as published."""
    return finetune.tune(lm, facts, finetune.block_names(lm, settings.layer), settings)
