"""What the workflow would run today, by asking Snakemake: every job's outputs, command and settings. And what that says
about the artifacts that are here: missing, made with other params or by another command, made by no rule.
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

JOB = ("snakemake", "--dry-run", "--forceall", "--printshellcmds")
SHELL = "Shell command: "


class Job(NamedTuple):
    """One job: files relative to the repository; the command as a lineage record holds it, and the settings it leaves
    out.
    """

    rule: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    command: tuple[str, ...]
    config: dict


def wanted(root) -> dict[Path, Job]:
    """Every file that the rules make for the active models, and the job that makes it. RuntimeError with Snakemake's
    words if it has none to say.
    """
    run = subprocess.run([Path(sys.executable).parent / JOB[0], *JOB[1:]], cwd=root, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"snakemake cannot say what is to be made:\n{run.stdout}{run.stderr}".rstrip())
    found = [job for block in run.stdout.split("\n\n") if (job := _job(block))]
    return {Path(path): job for job in found for path in job.outputs}


def _job(block: str) -> Job | None:
    """A job from the block of lines that Snakemake prints about it; None of a rule that only gathers."""
    lines = block.splitlines()
    shell = [line.removeprefix(SHELL) for line in lines if line.startswith(SHELL)]
    if shell in ([], ["None"]):
        return None
    about = dict(line.strip().split(": ", 1) for line in lines if line.startswith("    ") and ": " in line)
    name = next(line for line in lines if line.endswith(":") and " " in line).removesuffix(":").split()[-1]
    words = shlex.split(shell[0])
    words = words[1 : words.index("2>&1")]  # without `python`; what follows is the log
    at = words.index("--config")
    return Job(
        name,
        tuple(_files(about.get("input"))),
        tuple(_files(about["output"])),
        (*words[:at], *words[at + 2 :]),
        json.loads(words[at + 1]),
    )


def _files(text: str | None) -> list[str]:
    return text.split(", ") if text else []


def changed(before, now, key: str = "") -> list[str]:
    """The keys whose values differ, as `trace.samples: 10, now 11`; `nothing` stands for a key that is not there."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for name in dict.fromkeys([*before, *now])
            for line in changed(before.get(name, ...), now.get(name, ...), f"{key}.{name}" if key else name)
        ]
    if before == now:
        return []
    return [f"{key}: {', now '.join('nothing' if value is ... else json.dumps(value) for value in (before, now))}"]


def stale(record: dict, job: Job) -> tuple[str, str] | None:
    """The verdict on an artifact that the job makes today: `stale params` or `stale command`, and what changed; or
    None.
    """
    keys = changed(record["params"], json.loads(json.dumps(job.config)))
    if keys:
        return "stale params", "; ".join(keys)
    before, now = record["command"], list(job.command)
    if before != now:
        gone, new = ([word for word in words if word not in others] for words, others in ((before, now), (now, before)))
        return "stale command", f"no longer {' '.join(gone) or '-'}; now {' '.join(new) or '-'}"
    return None
