"""Progress bars, on stderr, so that long stages show rate and time left."""

from tqdm import tqdm


def bar(items, what: str, unit: str = "it", total: int | None = None):
    """`items` behind a progress bar that says `what` is counted, at what rate and how long is left."""
    return tqdm(items, desc=what, unit=unit, total=total, mininterval=1.0, dynamic_ncols=True)
