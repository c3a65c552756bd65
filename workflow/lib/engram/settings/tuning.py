"""Hyperparameters of fine-tuning, for all methods that are a form of it."""

import math
from typing import Annotated

from annotated_types import Len
from pydantic import Field

from engram.settings.blocks import Count, Natural, NotNegative, Number, Positive, block


@block
class Settings:
    """Defaults are the reference's for FT. PAPER: ROME App. E.1 stops at a loss of 0.03, its code at 0.01."""

    layer: Natural = Field(description="The edited layer, counted from 0.")
    rate: Positive = Field(default=5e-4, description="Adam's learning rate.")
    steps: Count = Field(default=25, description="Passes over the facts.")
    epsilon: Positive | None = Field(
        default=None, description="No entry of a weight moves further than this from where it was; none: no box."
    )
    weight_decay: NotNegative = Field(
        default=0.0, description="Adam's own: this much of the weight is added to its gradient."
    )
    decay_law: Annotated[tuple[Number, ...], Len(2, 2)] | None = Field(
        default=None, description="a and b of a weight decay n^a e^b for n facts, instead of a constant."
    )
    teacher_forced: bool = Field(
        default=False,
        description="Whether target tokens are read after their predecessors; published: all at the last prompt token.",
    )
    stop_loss: NotNegative = Field(
        default=0.01, description="A batch below it makes no step, and a pass whose mean is below it is the last."
    )
    batch_size: Count = Field(default=128, description="Facts per step.")
    side_by_side: Count = Field(
        default=16, description="Single facts computed at a time, each in weights of its own: memory, and rounding."
    )

    def __post_init__(self) -> None:
        if self.decay_law is not None and self.weight_decay:
            raise ValueError(
                f"decay_law {self.decay_law} with weight_decay {self.weight_decay}; right is one of the two"
            )

    def decay(self, count: int) -> float:
        """Weight decay for `count` facts. DIFFERS: the code checks its power law for a type it never has, and decays
        nothing.
        """
        if self.decay_law is None:
            return self.weight_decay
        power, offset = self.decay_law
        return count**power * math.exp(offset)
