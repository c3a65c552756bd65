"""Artifacts that no rule makes any more, as of a point of a sweep that is gone: found by asking Snakemake, and
removed.
"""

import subprocess
import sys
from pathlib import Path

from engram.job import lineage

FOLDERS = ("data/{model}", "results/*/{model}", "figures/{model}")


def unlisted(root: Path | str, models: list[str]) -> list[Path]:
    """Artifacts of `models` below `root` that are in none of the workflow's jobs. RuntimeError with Snakemake's words
    if it has none to say.
    """
    command = [str(Path(sys.executable).parent / "snakemake"), "--list-untracked"]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(run.stdout + run.stderr)
    named = {line.strip() for line in (run.stdout + run.stderr).splitlines()}
    files = [
        path
        for model in models
        for pattern in FOLDERS
        for folder in sorted(Path(root).glob(pattern.format(model=model)))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != ".lineage"
    ]
    return [path for path in files if path.relative_to(root).as_posix() in named]


def tidy(root: Path | str, models: list[str]) -> list[Path]:
    """Remove the artifacts of `models` below `root` that no job of the workflow makes, with their records, and folders
    that are empty then; returns what was removed. RuntimeError if Snakemake cannot say what it makes.
    """
    removed = unlisted(root, models)
    for path in removed:
        path.unlink()
        lineage.record_path(path).unlink(missing_ok=True)
        for folder in (path.parent / ".lineage", path.parent, *path.parents[1:4]):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    return removed
