"""The facts that are edited together: what `n` means in params.yaml, in paths and in column n of tables.

`1`: every fact alone, on a fresh model. `100`: a hundred by one call of the method. `1000by100`: a thousand in batches
of a hundred, one after the other on the same model, which is read along the way. `100of3`: a hundred facts of one
relation, the one with the third most records; `100of3+5`: fifty of each of two.
"""

import re
from dataclasses import dataclass
from functools import cache

PATTERN = r"[1-9]\d*(?:by[1-9]\d*)?(?:of[1-9]\d*(?:\+[1-9]\d*)*)?"  # of a word n, for a rule's wildcard too
FORM = "a number of facts, <facts>by<batch>, 1000by100, or of relations by their rank, 100of3, 100of1+2"


@dataclass(frozen=True)
class FactGroup:
    """Facts that one model holds in the end. `str` gives the word n."""

    facts: int
    batch: int | None = None  # facts of one call of the method, the calls one after the other; None: one call for all
    ranks: tuple[int, ...] = ()  # of the facts' relations by number of records; (): the first facts of any relation

    @classmethod
    @cache
    def parse(cls, word: str | int) -> "FactGroup":
        """The group of the word n, or of a number of facts. ValueError for another form."""
        if not re.fullmatch(PATTERN, str(word)):
            raise ValueError(f"n is {word!r}; right is {FORM}")
        head, _, ranks = str(word).partition("of")
        facts, _, batch = head.partition("by")
        return cls(int(facts), int(batch) if batch else None, tuple(map(int, ranks.split("+"))) if ranks else ())

    def __str__(self) -> str:
        batch = f"by{self.batch}" if self.batch else ""
        return f"{self.facts}{batch}" + (f"of{'+'.join(map(str, self.ranks))}" if self.ranks else "")

    @property
    def alone(self) -> bool:
        """Whether every fact is edited by itself, on a fresh model: n is 1."""
        return self == FactGroup(1)

    @property
    def column(self) -> int | str:
        """What column n of a table holds: the number of facts, or the word where n says more."""
        return self.facts if self == FactGroup(self.facts) else str(self)

    def checkpoints(self, total: int) -> list[int]:
        """After how many of `total` facts the model is read, where facts are edited in batches.

        After the first batch, then at the multiples of `batch` next below 1, 2, 3, 6, 10, 18, 32, … (10^(k/4), the
        numbers of MEMIT Fig. 5), and at the end. ValueError for a group that is edited by one call.
        """
        if self.batch is None:
            raise ValueError(f"n is {self}, whose facts are edited by one call: only batches have checkpoints")
        reached, power = {min(self.batch, total), total}, 0
        while (wanted := round(10 ** (power / 4))) < total:
            reached |= {wanted // self.batch * self.batch} - {0}
            power += 1
        return sorted(reached)
