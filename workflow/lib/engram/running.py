"""Which runs of Snakemake are alive in a folder: a lock that a killed run has left is removed, not a human's task."""

import fcntl
import sys
from pathlib import Path

_held = []  # open as long as the process lives; the kernel lets go of it, however the process ends


def enter(folder=Path(".snakemake")) -> bool:
    """Count this process among the runs that are alive in `folder`. Without another one, locks that lie there are removed.

    Snakemake's own locks are files that only an orderly end removes. Returns whether there were such of a run that is dead.
    """
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    alive = open(folder / "alive.lock", "a", encoding="utf-8")
    _held.append(alive)
    stale = []
    try:
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stale = sorted(folder.glob("locks/*.lock"))
        for path in stale:
            path.unlink(missing_ok=True)
    except BlockingIOError:
        pass  # another run is alive: its locks are right, and Snakemake says so if the two want the same files
    fcntl.flock(alive, fcntl.LOCK_SH)
    if stale:
        print("a run here was killed: its lock is removed, and what it had not finished is made again", file=sys.stderr)
    return bool(stale)
