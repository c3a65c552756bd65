"""Which runs of Snakemake are alive in a folder, and whether they can write there.

A lock that a killed run has left is removed, and no human's task.
"""

import fcntl
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO

_held: list[IO[str]] = []  # open as long as the process lives; the kernel lets go of it, however the process ends


def enter(folder: Path | str = Path(".snakemake")) -> bool:
    """Count this process among the runs that are alive in `folder`. Without another one, locks that lie there are
    removed.

    Snakemake's own locks are files that only an orderly end removes. Returns whether there were such of a run that is
    dead.
    """
    folder = Path(folder)
    try:
        folder.mkdir(exist_ok=True)
        alive = open(folder / "alive.lock", "a", encoding="utf-8")  # noqa: SIM115  open as long as the process lives
    except OSError as error:
        print(
            f"{folder.absolute()}: cannot be written to ({error.strerror}); make it writable and run again",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    _held.append(alive)
    stale = []
    try:
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stale = sorted(folder.glob("locks/*.lock"))
        for path in stale:
            path.unlink(missing_ok=True)
    except BlockingIOError:
        if "--mode" not in sys.argv:  # which a job on another node has
            print(
                "another run is alive in this folder; if the two want the same files, Snakemake stops here: wait for "
                "its end",
                file=sys.stderr,
            )
    fcntl.flock(alive, fcntl.LOCK_SH)
    if stale:
        print("a run here was killed: its lock is removed, and what it had not finished is made again", file=sys.stderr)
    return bool(stale)


def writable(folders: Iterable[Path | str]) -> None:
    """Leave with status 2 if a folder, or one below it, cannot be written to: Snakemake would end with a traceback."""
    for top in map(Path, folders):
        for folder in (top, *sorted(path for pattern in ("*", "*/*") for path in top.glob(pattern) if path.is_dir())):
            if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
                print(
                    f"{folder}: cannot be written to (read-only, or another's): make it so and run again",
                    file=sys.stderr,
                )
                raise SystemExit(2)
