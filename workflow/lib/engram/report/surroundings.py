"""What a run was made with: packages, devices and seeds by the lineage records; the machine that the page is made
on.
"""

import os
import platform
from collections import Counter
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import psutil

WORKFLOW = ("snakemake", "dvc", "matplotlib", "jinja2")
PROCESSORS = Path("/proc/cpuinfo")


def machine() -> dict[str, str]:
    """This machine in words: processor, cores, memory, system, Python and the packages that run the workflow."""
    cores = len(os.sched_getaffinity(0))
    return {
        "processor": f"{_processor()}, {cores} core{'s' * (cores != 1)} usable",
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "system": _system(),
        "Python": platform.python_version(),
        **{name: metadata.version(name) for name in WORKFLOW},
    }


def _processor() -> str:
    lines = PROCESSORS.read_text(encoding="utf-8").splitlines() if PROCESSORS.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):  # a system without that file
        name = platform.system()
    return f"{name}, kernel {platform.release()}, {platform.machine()}"


def made_with(records: list[dict]) -> dict[str, str]:
    """Packages, devices and seeds of lineage records: what all have in common, or how many artifacts have which."""
    common = {
        "device": _said(record["device"] for record in records),
        "seed": _said(record["seed"] for record in records),
    }
    names = sorted({name for record in records for name in record["packages"]})
    return common | {name: _said(record["packages"].get(name, "not noted") for record in records) for name in names}


def made_on(entries: list[dict]) -> dict[str, str]:
    """Machines and commits by the ledger's entries; nothing without any."""
    if not entries:
        return {}
    names = sorted({name for entry in entries for name in entry["machine"]})
    commits = (f"{(entry['commit'] or 'none')[:12]}{', changed' if entry['dirty'] else ''}" for entry in entries)
    return {name: _said(entry["machine"].get(name, "none") for entry in entries) for name in names} | {
        "commit": _said(commits)
    }


def _said(values: Iterable[object]) -> str:
    counts = Counter(map(str, values))
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{value} ({count} artifacts)" for value, count in sorted(counts.items()))
