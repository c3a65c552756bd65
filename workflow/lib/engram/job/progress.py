"""Progress bars, on stderr, so that long stages show rate and time left.

What lets a killed job go on is engram.job.resuming.
"""

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def bar(items: Iterable[Any] | None, what: str, unit: str = "it", total: int | None = None, done: int = 0) -> tqdm:
    """`items` behind a progress bar that says `what` is counted, at what rate and how long is left.

    `done` of `total` were finished by an earlier run that this one resumes: they count, but not for the rate.
    """
    return tqdm(items, desc=what, unit=unit, total=total, initial=done, mininterval=1.0, dynamic_ncols=True)
