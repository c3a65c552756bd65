"""Hyperparameters of fine-tuning, for all methods that are a form of it."""

import math
from typing import Annotated

from annotated_types import Len

from engram.settings.blocks import Count, Natural, NotNegative, Number, Positive, block, key


@block
class Settings:
    """Defaults are the reference's for FT. PAPER: ROME App. E.1 stops at a loss of 0.03, its code at 0.01."""

    layer: Natural = key("The edited layer, counted from 0.")
    rate: Positive = key("Adam's learning rate.", default=5e-4)
    steps: Count = key("Passes over the facts.", default=25)
    epsilon: Positive | None = key(
        "No entry of a weight moves further than this from where it was; none: no box.", default=None
    )
    weight_decay: NotNegative = key("Adam's own: this much of the weight is added to its gradient.", default=0.0)
    decay_law: Annotated[tuple[Number, ...], Len(2, 2)] | None = key(
        "a and b of a weight decay n^a e^b for n facts, instead of a constant.", default=None
    )
    teacher_forced: bool = key(
        "Whether target tokens are read after their predecessors; published: all at the last prompt token.",
        default=False,
    )
    stop_loss: NotNegative = key(
        "A batch below it makes no step, and a pass whose mean is below it is the last.", default=0.01
    )
    batch_size: Count = key("Facts per step.", default=128)
    side_by_side: Count = key(
        "Single facts computed at a time, each in weights of its own: memory, and rounding.", default=16
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
