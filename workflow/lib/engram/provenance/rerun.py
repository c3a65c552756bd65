"""Making an artifact again in a scratch copy of the repository, and comparing bytes: `engram audit --deep`."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from engram.job import lineage
from engram.provenance import audit, planned_jobs

NOT_RUN = {"fetch": "a link to an original file", "params": "made by `engram check`"}  # stages: why not
DEEP = ("a",) * 8  # folders above the scratch copy, so that an input `../shared/x` stays inside the temporary folder


class Compared(NamedTuple):
    """One output of a job that was run again: whether it has the recorded bytes."""

    path: Path
    same: bool
    detail: str


def sample(root: Path | str, count: int, verdicts: Iterable[audit.Verdict], seed: int = 0) -> list[Path]:
    """An artifact of each of `count` jobs, drawn from those in order; of all jobs, if there are fewer."""
    first: dict[str, Path] = {}
    for verdict in verdicts:
        if verdict.word == audit.OK:
            record = audit.read_record(Path(root), verdict.path)
            if record["stage"] not in NOT_RUN:
                first.setdefault(json.dumps(record["command"]), verdict.path)
    return random.Random(seed).sample(list(first.values()), min(count, len(first)))


def rerun(root: Path | str, path: Path, wanted: dict[Path, planned_jobs.Job]) -> list[Compared]:
    """Run the job of an artifact on copies of its inputs; every output beside what the records say.

    `wanted`: jobs of today, for the order of settings, which a record does not keep. ValueError for an artifact that is
    not in order, or is not made by a script; RuntimeError, with its last words, if the job fails.
    """
    root = Path(root)
    verdict = audit.verdicts(root, [path])[0]
    if verdict.word != audit.OK:
        raise ValueError(f"{path}: {verdict.word} {verdict.detail}; only what is in order can be made again")
    record = audit.read_record(root, path)
    if record["stage"] in NOT_RUN:
        raise ValueError(f"{path}: not made by a job: {NOT_RUN[record['stage']]}")
    config = (
        wanted[path].config if path in wanted and not planned_jobs.stale(record, wanted[path]) else record["params"]
    )
    with tempfile.TemporaryDirectory(prefix="engram-") as folder:
        scratch = Path(folder, *DEEP)
        _copy(root, scratch, record)
        _run(scratch, record["command"], config)
        return [_compare(root, scratch, place) for place in outputs(root, record)]


def outputs(root: Path | str, record: dict) -> list[Path]:
    """The artifacts that the job of a record wrote."""
    places = []
    for word in record["command"][1:]:
        place = Path(word)
        if (Path(root) / lineage.record_path(place)).is_file() and audit.read_record(Path(root), place)[
            "command"
        ] == record["command"]:
            places.append(place)
    return places


def _copy(root: Path, scratch: Path, record: dict) -> None:
    shutil.copytree(root / "workflow", scratch / "workflow", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for source in record["inputs"]:
        place = Path(source["path"])
        if not place.is_absolute():  # an absolute one is read where it is
            copy = scratch / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / place, copy)
            copy.chmod(0o444)
            place = copy
        if lineage.sha256(place) != source["sha256"]:
            raise ValueError(f"{source['path']}: not what the artifact was made from")


def _run(scratch: Path, command: list[str], config: dict) -> None:
    environment = os.environ | {"PYTHONPATH": str(scratch / "workflow" / "lib")}
    run = subprocess.run(
        [sys.executable, *command, "--config", json.dumps(config)],
        cwd=scratch,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if run.returncode:
        raise RuntimeError(f"{command[0]}: status {run.returncode}\n{run.stdout[-2000:]}")


def _compare(root: Path, scratch: Path, place: Path) -> Compared:
    record, again = audit.read_record(root, place), scratch / place
    if not again.is_file():
        return Compared(place, False, "not written this time")
    now = audit.read_record(scratch, place)
    before = record["packages"] | {"device": record["device"]}
    other = [
        f"{name} {before.get(name)}, now {value}"
        for name, value in (now["packages"] | {"device": now["device"]}).items()
        if before.get(name) != value
    ]
    same = lineage.sha256(again) == record["sha256"]
    return Compared(
        place,
        same,
        ("" if same else f"sha256 {record['sha256'][:12]}, now {now['sha256'][:12]}; ")
        + (f"made with {', '.join(other)}" if other else "" if same else "the same versions and device"),
    )


def report(compared: list[Compared]) -> str:
    """A line per file and one that counts them."""
    lines = [
        f"{'same bytes' if same else 'other bytes':<14} {path}   {detail}".rstrip() for path, same, detail in compared
    ]
    return "\n".join(
        [*lines, f"{len(compared)} files made again, {sum(file.same for file in compared)} with the same bytes"]
    )


def main(root: Path | str, chosen: str) -> int:
    """Make one artifact again, or those of a number of sampled jobs; the exit status."""
    wanted = planned_jobs.wanted(root)
    paths = [Path(chosen)] if not chosen.isdigit() else sample(root, int(chosen), audit.verify(root))
    compared = [file for path in paths for file in rerun(root, path, wanted)]
    print(report(compared))
    return int(not compared or any(not file.same for file in compared))
