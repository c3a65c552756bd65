"""What guards a stage's process: one process per set of outputs, inputs as they were made, errors in one line.

An error that a file, a setting or the machine causes is said as `stage (keys): file: what; remedy`, with exit status 1.
The traceback of any error is put below logs/tracebacks, where there is a folder `logs`. Never imports torch.
"""

import errno
import fcntl
import hashlib
import os
import re
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from engram.job import lineage

if TYPE_CHECKING:
    from engram.job.arguments import Job

LOCKS = Path(".resume", "locks")
LOGS = Path("logs")
AGAIN = "run again: what is finished is kept"
REMEDIES = {
    errno.ENOSPC: f"free some space and {AGAIN}",
    errno.EDQUOT: f"free some space and {AGAIN}",
    errno.EFBIG: f"raise the limit on the size of files (ulimit -f) and {AGAIN}",
    errno.EROFS: f"make the folder writable and {AGAIN}",
    errno.EACCES: f"make the file and its folder accessible and {AGAIN}",
    errno.EPERM: f"make the file and its folder accessible and {AGAIN}",
    errno.ENOENT: "run `snakemake`, which makes it if a rule does; else put it there",
}
MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
FAULTS = (OSError, ValueError, KeyError, ArithmeticError, MemoryError)  # of files, settings or machine; others are bugs


def guard_process(job: "Job") -> None:
    """Guard the rest of this process, which is one run of `job` from the command line.

    From here on an error ends it with one line on stderr; no other process makes the same outputs; and every input is
    what its lineage record says, else ValueError.
    """
    sys.excepthook = lambda kind, error, trace: report(job, error)
    job.lock = lock_outputs(next(iter(vars(job.outputs).values())))  # held as long as the process lives
    verify(job.hashed_inputs())


def lock_outputs(output: Path | str) -> TextIO:
    """A lock on a job's outputs, named by the first of them; waits for another process that makes them.

    The processes of a run that was killed may still be at work.
    """
    path = LOCKS / f"{hashlib.sha256(os.path.abspath(output).encode()).hexdigest()[:16]}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - held, and so open, as long as the process lives
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        print(
            f"{output} is being made by process {lock.read().strip() or '?'}, of an earlier run: waiting for its end",
            file=sys.stderr,
        )
        fcntl.flock(lock, fcntl.LOCK_EX)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def verify(inputs: Iterable[dict[str, str]]) -> None:
    """ValueError for an input {path, sha256} that is not what its lineage record says; one without a record is taken as
    it is.
    """
    for entry in inputs:
        path, sha256 = entry["path"], entry["sha256"]
        record_file = lineage.record_path(path)
        if not record_file.is_file():
            continue
        record = lineage.unsealed(record_file.read_text(encoding="utf-8", errors="replace"))
        if record is None:
            raise ValueError(
                f"{record_file}: a damaged lineage record; delete {path} and run again, which makes both anew"
            )
        if record["sha256"] != sha256:
            raise ValueError(
                f"{path}: not what stage {record['stage']} wrote, but damaged or changed since (sha256 {sha256[:12]}…, "
                f"made as {record['sha256'][:12]}…); delete it and run again, which makes it anew, or "
                "`dvc checkout --force` it"
            )


def report(job: "Job", error: BaseException) -> None:
    """Say on stderr what went wrong in `job`, in one line, and keep the traceback below logs/tracebacks.

    An error that no file, setting or machine explains is one of engram: without a folder for it, its traceback is
    printed.
    """
    keys = ", ".join(vars(job.keys).values())
    name = f"{job.script.stem} ({keys})" if keys else job.script.stem
    lines = traceback.format_exception(error)
    if isinstance(error, KeyboardInterrupt):
        print(f"{name}: interrupted; {AGAIN}", file=sys.stderr)
        return
    expected = isinstance(error, FAULTS) or out_of_memory(error) or type(error).__name__ == "SafetensorError"
    kept = _keep(job, lines)
    if not (kept or expected):
        print("".join(lines), file=sys.stderr)
    text = (
        explain(error) if expected else f"not expected, so an error of engram or of its settings: {lines[-1].strip()}"
    )
    print(f"{name}: {text}" + (f"\n(traceback: {kept})" if kept else ""), file=sys.stderr)


def explain(error: BaseException) -> str:
    """What an error of a file, a setting or the machine means to a user: `file: what; remedy`."""
    if out_of_memory(error):
        return (
            f"out of memory: {_first_line(error)}; fewer jobs at once (--cores), smaller batches in the settings, a "
            "smaller model or a device with more memory would help"
        )
    if isinstance(error, KeyError):
        key = error.args[0] if error.args else "?"
        return f"no {key!r} in the settings (--config) or in what was read; right is what the rule of the stage passes"
    if isinstance(error, OSError) and error.strerror and error.errno:
        file = f"{error.filename}: " if error.filename else ""
        return f"{file}{error.strerror}; {REMEDIES.get(error.errno, AGAIN)}"
    return str(error).strip() or type(error).__name__


def system_error(error: BaseException, path: Path | str) -> OSError | None:
    """The system's error behind one of safetensors, whose own type has only words for it, while it wrote `path`; None
    if `error` is another.
    """
    number = re.search(r"\bos error (\d+)", str(error)) if type(error).__name__ == "SafetensorError" else None
    return OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else None


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, the device's or the machine's, is full."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in MEMORY)


def _keep(job: "Job", lines: list[str]) -> Path | None:
    """Where the traceback was put; None if there is no folder for it, or no room."""
    first = next(iter(vars(job.outputs).values()))
    path = LOGS / "tracebacks" / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', str(first)).strip('-.')[-150:]}.txt"
    if not LOGS.is_dir():
        return None
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(lines), encoding="utf-8")
    except OSError:
        return None
    return path


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
