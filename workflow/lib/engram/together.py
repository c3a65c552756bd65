"""The word n: how many facts are edited together. No torch.

"1": every fact alone, on a fresh model. "100": a hundred by one call of the method. "1000by100": a thousand in batches of a
hundred, one after the other on the same model, which is read along the way.
"""

from typing import NamedTuple


class Group(NamedTuple):
    """Facts that one model holds in the end, and how many of them one call edits (None: all)."""

    facts: int
    batch: int | None = None


def group(n) -> Group:
    """`Group` of the word n, or of a number. ValueError for another form."""
    facts, by, batch = str(n).partition("by")
    words = [facts, batch] if by else [facts]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ValueError(f"n is {n!r}; right is a number of facts, or <facts>by<batch>, 1000by100")
    return Group(*map(int, words))


def column(n: str) -> int | str:
    """What column n of a table holds: a number, or the word."""
    return n if group(n).batch else int(n)


def checkpoints(total: int, batch: int) -> list[int]:
    """After how many of `total` facts, edited in batches, the model is read: after the first batch, then at the multiples of
    `batch` next below 1, 2, 3, 6, 10, 18, 32, … (10^(k/4), the numbers of MEMIT Fig. 5), and at the end."""
    found, power = {min(batch, total), total}, 0
    while (wanted := round(10 ** (power / 4))) < total:
        found |= {wanted // batch * batch} - {0}
        power += 1
    return sorted(found)
