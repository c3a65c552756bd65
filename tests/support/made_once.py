"""Folders that are expensive to make: made once, whoever of the processes that run tests asks first."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def once(name: str, make: Callable[[Path], object], factory: pytest.TempPathFactory) -> Path:
    """The folder that `make` fills, not to be changed; `make` is called in one process, the others wait."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = shared / f"made-{name}", shared / f"made-{name}.done"
    with open(shared / f"made-{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def copy_of(name: str, make: Callable[[Path], object], factory: pytest.TempPathFactory) -> Path:
    """A copy, of this process, of the folder that `make` fills once."""
    folder = once(name, make, factory)
    return Path(shutil.copytree(folder, factory.mktemp(name) / "copy", symlinks=True))
