"""What stands between a stage and its user: one process per set of outputs, inputs as they were made, errors in one
line.

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
from pathlib import Path

from engram.job import lineage

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


def stand(job) -> None:
    """Guard the rest of this process, which is one run of `job` (an arguments.Job) from the command line."""
    sys.excepthook = lambda kind, error, trace: report(job, error)
    job.lock = alone(next(iter(vars(job.outputs).values())))  # held as long as the process lives
    verify(job.hashed_inputs())


def alone(output: Path):
    """A lock on a job's outputs, once no other process makes them: those of a killed run may still be at work."""
    path = LOCKS / f"{hashlib.sha256(os.path.abspath(output).encode()).hexdigest()[:16]}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = open(path, "a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        print(
            f"{output} is being made by process {lock.read().strip() or '?'}, of a run before this: waiting for its end",
            file=sys.stderr,
        )
        fcntl.flock(lock, fcntl.LOCK_EX)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def verify(inputs: list[dict]) -> None:
    """ValueError for an input {path, sha256} that is not what its lineage record says; one without a record is taken as
    it is.
    """
    for one in inputs:
        place = lineage.record_path(one["path"])
        if not place.is_file():
            continue
        record = lineage.unsealed(place.read_text(encoding="utf-8", errors="replace"))
        if record is None:
            raise ValueError(
                f"{place}: a damaged lineage record; delete {one['path']} and run again, which makes both anew"
            )
        if record["sha256"] != one["sha256"]:
            raise ValueError(
                f"{one['path']}: not what stage {record['stage']} wrote, but damaged or changed since (sha256 "
                f"{one['sha256'][:12]}…, made as {record['sha256'][:12]}…); delete it and run again, which makes it "
                "anew, or `dvc checkout --force` it"
            )


def report(job, error: BaseException) -> None:
    """Say on stderr what went wrong, and keep the traceback."""
    where = ", ".join(vars(job.keys).values())
    name = f"{job.script.stem} ({where})" if where else job.script.stem
    lines = traceback.format_exception(error)
    if isinstance(error, KeyboardInterrupt):
        print(f"{name}: interrupted; {AGAIN}", file=sys.stderr)
        return
    expected = isinstance(error, FAULTS) or out_of_memory(error) or type(error).__name__ == "SafetensorError"
    kept = _keep(job, lines)
    if not (kept or expected):
        print("".join(lines), file=sys.stderr)
    said = (
        explain(job, error)
        if expected
        else f"not expected, so an error of engram or of its settings: {lines[-1].strip()}"
    )
    print(f"{name}: {said}" + (f"\n(traceback: {kept})" if kept else ""), file=sys.stderr)


def explain(job, error: BaseException) -> str:
    """`file: what; remedy` of an error."""
    if out_of_memory(error):
        return (
            f"out of memory: {_first(error)}; fewer jobs at once (--cores), smaller batches in the settings, a smaller "
            "model or a device with more memory would help"
        )
    if isinstance(error, KeyError):
        return _without(job, error)
    if isinstance(error, OSError) and error.strerror and error.errno:
        file = f"{error.filename}: " if error.filename else ""
        return f"{file}{error.strerror}; {REMEDIES.get(error.errno, AGAIN)}"
    return str(error).strip() or type(error).__name__


def met(error: BaseException, path) -> OSError | None:
    """The system's error that safetensors met while it wrote `path`, whose own type has only words for it; None if it
    is none.
    """
    said = re.search(r"\bos error (\d+)", str(error)) if type(error).__name__ == "SafetensorError" else None
    return OSError(int(said[1]), os.strerror(int(said[1])), str(path)) if said else None


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, the device's or the machine's, is full."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in MEMORY)


def _without(job, error: KeyError) -> str:
    """What lacks a key: a table among the inputs, or the settings."""
    key, columns = error.args[0] if error.args else "?", _columns(error)
    tables = (
        [Path(one["path"]) for one in job.hashed_inputs() if one["path"].endswith(".parquet")]
        if columns is not None
        else []
    )
    schemas = {path: _schema(path) for path in tables}
    found = [path for path, names in schemas.items() if names == columns] or [
        path for path, names in schemas.items() if key not in names
    ]
    if found:
        return (
            f"{' or '.join(map(str, found))}: no column {key!r}, it has {schemas[found[0]]}; delete it and run again, "
            "which makes it anew"
        )
    return f"no {key!r} in the settings (--config) or in what was read; right is what the rule of the stage passes"


def _columns(error: BaseException) -> list | None:
    """The columns of the table in which a key was looked for, from the innermost frames; None if it was none."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        table = frame.f_locals.get("self")
        if type(table).__name__ == "DataFrame":
            return [str(name) for name in table.columns]
    return None


def _schema(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    return pq.read_schema(path).names


def _keep(job, lines: list[str]) -> Path | None:
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


def _first(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
