"""Kill a run at random moments, resume it each time, and compare the end with a run that nobody disturbed (`make
faults`).

Four ways: SIGKILL of Snakemake alone (its jobs live on), SIGTERM, SIGINT to all as Ctrl-C sends it, and SIGKILL of the
whole tree at once, as when the power fails. After each, every file that has its final name must be whole: it parses,
and its lineage record has its hash. Each resumption is plain `snakemake`: no lock is left to a human.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from engram.job import io, lineage
from engram.provenance import audit, reproducible

WAYS = ("SIGKILL", "SIGTERM", "Ctrl-C", "power off")
MAGIC = {".pdf": b"%PDF", ".png": b"\x89PNG"}
MODELS = ["mini"]
PATIENCE = 300  # seconds for an orderly end


@dataclass
class Figures:
    """What happened: kills by way, runs that ended before theirs, files checked after kills, and what was wrong."""

    kills: Counter = field(default_factory=Counter)
    jobs: int = 0
    finished: int = 0
    checked: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ways = ", ".join(f"{count} {way}" for way, count in self.kills.items())
        return (
            f"{sum(self.kills.values())} kills ({ways}), {self.jobs} processes of jobs among what "
            "they ended or left behind; "
            f"{self.checked} times a file checked after a kill; {self.finished} runs ended before they were killed; "
            f"{len(self.problems)} problems"
        )


def check(folder: Path, formats: bool = True) -> tuple[int, list[str]]:
    """How many artifacts are there under their final names, and what is wrong with them. `formats`: also read them."""
    paths = [path for path in audit.artifacts(folder) if (folder / path).is_file()]
    return len(paths), [f"{path}: {wrong}" for path in paths if (wrong := _wrong(folder, path, formats))]


def _wrong(folder: Path, path: Path, formats: bool) -> str | None:
    file = folder / path
    try:
        record = audit.read_record(folder, path)
        if record["sha256"] != lineage.sha256(file):
            return "not what its record says"
        if not formats:
            return None
        if file.suffix == ".parquet":
            io.read_table(file)
        if file.suffix == ".json":
            json.loads(file.read_bytes())
        if file.suffix == ".safetensors":
            io.read_tensors(file)
        if not file.read_bytes().startswith(MAGIC.get(file.suffix, b"")):
            return f"does not begin as a {file.suffix}"
    except (OSError, ValueError) as error:
        return str(error)
    return None


def start(folder: Path, environment: dict, log) -> subprocess.Popen:
    command = [Path(sys.executable).parent / "snakemake", "--cores", "2"]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script in the background hands down that it is ignored
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )


def kill(run: subprocess.Popen, way: str) -> int:
    """End a run in one of WAYS; returns how many processes of jobs it had."""
    tree = psutil.Process(run.pid).children(recursive=True)
    jobs = sum("python" in process.name() for process in _alive(tree))
    if way == "SIGKILL":
        run.kill()
    elif way == "SIGTERM":
        run.terminate()
    elif way == "Ctrl-C":
        os.killpg(run.pid, signal.SIGINT)
    else:
        for process in [psutil.Process(run.pid), *tree]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
    run.wait(PATIENCE)
    return jobs


def wait(run: subprocess.Popen, moment: float, working: bool) -> bool:
    """Wait for `moment` seconds, if `working` from the first job's start on; whether the run has ended before."""
    while working and run.poll() is None:
        tree = psutil.Process(run.pid).children(recursive=True)
        if any("workflow/" in " ".join(process.cmdline()) for process in _alive(tree)):
            break
        time.sleep(0.05)
    try:
        run.wait(moment)
    except subprocess.TimeoutExpired:
        return False
    return True


def _alive(processes: list) -> list:
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def torment(
    folder: Path, environment: dict, kills: int, span: float, seed: int = 0, formats: bool = True, ways: tuple = WAYS
) -> Figures:
    """Run, kill and resume until `kills` have been survived, then let it end. Every fourth moment is in the first
    `span` seconds of Snakemake, the others in the first ones of its jobs.
    """
    rng, figures, log = random.Random(seed), Figures(), folder.with_name(f"{folder.name}.log")
    with open(log, "w", encoding="utf-8") as stream:
        while sum(figures.kills.values()) < kills:
            way, moment = ways[sum(figures.kills.values()) % len(ways)], rng.uniform(0, span)
            run = start(folder, environment, stream)
            if wait(run, moment, rng.random() < 0.75):
                if run.returncode:
                    figures.problems.append(f"a resumed run failed with status {run.returncode}: {log}")
                    return figures
                figures.finished += 1
                reset(folder)
                continue
            figures.jobs += kill(run, way)
            figures.kills[way] += 1
            count, wrong = check(folder, formats)
            figures.checked += count
            figures.problems += [f"after {way} number {figures.kills[way]}: {line}" for line in wrong]
            print(
                f"{way} after {moment:.1f} s: {count} files under their final names, {len(wrong)} of them wrong",
                flush=True,
            )
        if (status := start(folder, environment, stream).wait()) != 0:
            figures.problems.append(f"the last run failed with status {status}: {log}")
    return figures


def reset(folder: Path) -> None:
    """Begin anew: nothing is made."""
    for name in ("results", "figures", "data/mini", ".resume"):
        shutil.rmtree(folder / name, ignore_errors=True)


def leftovers(folder: Path) -> list[str]:
    """Files of unfinished work that nothing will take away."""
    places = [path for name in (*audit.FOLDERS, ".resume") for path in (folder / name).rglob("*")]
    return [
        str(path.relative_to(folder))
        for path in places
        if path.is_file() and (path.name.endswith(".part") or (path.parent.name == "locks" and path.suffix != ".lock"))
    ]


def verdict(undisturbed: Path, tormented: Path, figures: Figures) -> int:
    found = reproducible.compare(undisturbed, tormented, MODELS)
    print(reproducible.report(found))
    print(figures, *figures.problems, *(f"left behind: {name}" for name in leftovers(tormented)), sep="\n")
    return int(bool(figures.problems or found.differences or leftovers(tormented) or not found.files))


def main(argv=None) -> int:
    sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
    import small_run

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--stand-ins", action="store_true", help="stages that compute nothing: the workflow alone, quicker"
    )
    parser.add_argument("--folder", type=Path, help="where to work; default: a new folder, removed at the end")
    args = parser.parse_args(argv)
    base = Path(args.folder or tempfile.mkdtemp(prefix="engram-kills-"))
    undisturbed, tormented = base / "undisturbed", base / "tormented"
    made = small_run.sandbox(undisturbed, real=not args.stand_ins)
    shutil.copytree(undisturbed, tormented, symlinks=True)
    environments = [type(made)(folder).environment for folder in (undisturbed, tormented)]
    began = time.monotonic()
    with open(base / "undisturbed.log", "w", encoding="utf-8") as log:
        if start(undisturbed, environments[0], log).wait():
            print(f"the undisturbed run failed: {log.name}", file=sys.stderr)
            return 2
    alone = time.monotonic() - began
    print(f"undisturbed: {alone:.0f} s", flush=True)
    figures = torment(tormented, environments[1], args.kills, max(6.0, alone / 6), args.seed, not args.stand_ins)
    status = verdict(undisturbed, tormented, figures)
    print(f"{time.monotonic() - began:.0f} s in all")
    if not args.folder and status == 0:
        shutil.rmtree(base)
    return status


if __name__ == "__main__":
    sys.exit(main())
