"""When, where and from which commit an artifact was made: what may differ between two runs with the same bytes. Never
imports torch.

No artifact and no lineage record holds any of this. A job writes its entry to `logs/ledger/<artifact>.json`, bound to
the record by the record's digest; how long it took is in Snakemake's benchmark file. `engram record` gathers both into
`ledger.jsonl`, which git keeps: one sealed line per job. Without an entry an artifact verifies all the same.
"""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from engram.job import lineage

LOGS = Path("logs")
FILE = Path("ledger.jsonl")
CODE = ("workflow", "Snakefile", "params.yaml")  # what makes a working copy dirty


def git(*words: str, root: Path | str = ".") -> str | None:
    """What git says, without taking its lock; None where it has nothing to say: no git, no repository, no such
    commit.
    """
    try:
        run = subprocess.run(["git", "--no-optional-locks", *words], cwd=root, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return run.stdout if run.returncode == 0 else None


def begin() -> dict[str, Any]:
    """What a job knows at its start: commit, whether code or params.yaml differ from it, the time (UTC), the
    machine.
    """
    head, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", *CODE)
    return {
        "commit": head.strip() if head else None,
        "dirty": None if changed is None else bool(changed.strip()),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
    }


@cache
def machine() -> dict[str, Any]:
    """Kind of machine, its processor or GPU, Python; nothing that names it."""
    torch = sys.modules.get("torch")  # not imported for this
    about = {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
    }
    return about | ({"gpu": torch.cuda.get_device_name()} if torch and torch.cuda.is_available() else {})


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def path_of(artifact: Path | str) -> Path | None:
    """Where a job writes its entry; None for a file outside the working folder, of which no ledger is kept."""
    path, here = Path(artifact).absolute(), Path.cwd()
    inside = path.is_relative_to(here) and ".." not in path.relative_to(here).parts
    return LOGS / "ledger" / f"{path.relative_to(here)}.json" if inside else None


def entry(began: dict[str, Any], record: dict[str, Any]) -> bytes:
    """The ledger entry, one line of json, of an artifact with this lineage record; `began`: what `begin` said."""
    return (json.dumps(lineage.seal(began | {"record": name_of(record)}), sort_keys=True) + "\n").encode()


def name_of(record: dict[str, Any]) -> str:
    """What binds an entry to a lineage record: the start of its digest."""
    return lineage.seal(record)["digest"][:16]
