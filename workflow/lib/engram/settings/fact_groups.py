"""The word n: how many facts are edited together. No torch.

"1": every fact alone, on a fresh model. "100": a hundred by one call of the method. "1000by100": a thousand in batches
of a hundred, one after the other on the same model, which is read along the way. "100of3": a hundred facts of one
relation, the one with the third most records; "100of3+5": fifty of each of two.
"""

import re
from typing import NamedTuple

FORM = re.compile(r"([1-9]\d*)(?:by([1-9]\d*))?(?:of([1-9]\d*(?:\+[1-9]\d*)*))?")


class Group(NamedTuple):
    """Facts that one model holds in the end; how many of them one call edits (None: all); the ranks of their relations
    by number of records (none: the first facts, whatever their relation).
    """

    facts: int
    batch: int | None = None
    of: tuple[int, ...] = ()


def group(n) -> Group:
    """`Group` of the word n, or of a number. ValueError for another form."""
    found = FORM.fullmatch(str(n))
    if not found:
        raise ValueError(
            f"n is {n!r}; right is a number of facts, <facts>by<batch>, 1000by100, or of a relation, 100of3"
        )
    facts, batch, of = found.groups()
    return Group(int(facts), int(batch) if batch else None, tuple(map(int, of.split("+"))) if of else ())


def column(n: str) -> int | str:
    """What column n of a table holds: a number, or the word."""
    return int(n) if n.isdecimal() else n


def checkpoints(total: int, batch: int) -> list[int]:
    """After how many of `total` facts, edited in batches, the model is read: after the first batch, then at the
    multiples of `batch` next below 1, 2, 3, 6, 10, 18, 32, … (10^(k/4), the numbers of MEMIT Fig. 5), and at the end.
    """
    found, power = {min(batch, total), total}, 0
    while (wanted := round(10 ** (power / 4))) < total:
        found |= {wanted // batch * batch} - {0}
        power += 1
    return sorted(found)
