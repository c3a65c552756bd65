"""What the workflow would run today, by asking Snakemake: every job's files, command, settings, and the keys of
params.yaml that decide them. And what that says about the artifacts that are here: missing, made with other params or
by another command, made by no rule.

Snakemake's graph is read from its objects, in a process of its own: reading a Snakefile changes the process that does
it (`PATH`, loggers, a lock that says a run is alive). What `snakemake --dry-run` prints would do but for the keys,
which no command line shows, and for paths with a comma.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from engram.settings import params

THIS = "engram.provenance.planned_jobs"


class Job(NamedTuple):
    """One job of the workflow."""

    rule: str
    wildcards: dict[str, str]
    inputs: tuple[str, ...]  # files, relative to the repository
    outputs: tuple[str, ...]  # artifacts, relative to the repository; their records of lineage are not among them
    command: tuple[str, ...]  # as a record of lineage holds it: without `python`, settings and log
    config: dict[str, Any]  # the settings that the script gets
    keys: tuple[str, ...]  # of params.yaml, dotted: those that decide settings and inputs


def jobs(root: Path | str, models: Iterable[str] = ()) -> list[Job]:
    """Every job that the active models need, or `models` if given, whatever is here already. RuntimeError with
    Snakemake's words if it has none to say.
    """
    environment = os.environ | ({params.VARIABLE: ",".join(models)} if models else {})
    run = subprocess.run([sys.executable, "-m", THIS], cwd=root, capture_output=True, text=True, env=environment)
    if run.returncode:
        raise RuntimeError(f"snakemake cannot say what is to be made:\n{run.stdout}{run.stderr}".rstrip())
    return [
        Job(rule, wildcards, tuple(inputs), tuple(outputs), tuple(command), config, tuple(keys))
        for rule, wildcards, inputs, outputs, command, config, keys in map(json.loads, run.stdout.splitlines())
    ]


def wanted(root: Path | str) -> dict[Path, Job]:
    """Every artifact that the rules make for the active models, and the job that makes it. RuntimeError with
    Snakemake's words if it has none to say.
    """
    return {Path(path): job for job in jobs(root) for path in job.outputs}


def main() -> int:
    """Print every job of the Snakefile in this folder, one JSON list of the fields of `Job` a line; the exit status."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import DAGSettings, OutputSettings, Quietness, ResourceSettings

    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, dryrun=True)) as api:
        try:
            workflow = api.workflow(resource_settings=ResourceSettings(cores=1), snakefile=Path("Snakefile"))
            workflow.dag(DAGSettings(forceall=True))
            graph = workflow._workflow  # the public interface runs a graph or draws it, and hands out no jobs
            graph._prepare_dag(forceall=True, ignore_incomplete=True, lock_warn_only=True, nolock=True)
            graph._build_dag()
        except Exception as error:
            api.print_exception(error)
            return 1
        for job in graph.dag.jobs:
            if job.is_shell:
                print(json.dumps(_fields(job)))
    return 0


def _fields(job: Any) -> Job:
    """A job of Snakemake as one of ours."""
    words = shlex.split(job.shellcmd)
    words = words[1 : words.index("2>&1")]  # without `python`; what follows is the log
    at = words.index("--config")
    artifacts = tuple(path for path in map(str, job.output) if Path(path).parent.name != ".lineage")
    command, settings = (*words[:at], *words[at + 2 :]), job.params.config
    return Job(
        job.rule.name,
        dict(job.wildcards_dict),
        tuple(map(str, job.input)),
        artifacts,
        command,
        json.loads(settings),
        settings.keys,
    )


def changed(before: Any, now: Any, key: str = "") -> list[str]:
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


def stale(record: dict[str, Any], job: Job) -> tuple[str, str] | None:
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


if __name__ == "__main__":
    sys.exit(main())
