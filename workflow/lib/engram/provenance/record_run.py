"""From a run of Snakemake to dvc.lock: lineage is verified first, because `dvc commit` certifies any bytes.

What differs from the committed lock is said in words: another processor may round differently, and that is no error.
"""

import json
import subprocess
import sys
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from engram.job import lineage
from engram.provenance import audit, code_versions, dvc_lock, dvc_yaml, planned_jobs
from engram.provenance.ledger import Ledger
from engram.settings import params

VALID = Path("results/params/valid.json")


def record(root: Path | str = ".") -> int:
    """Put the artifacts of the active models into dvc.lock; returns the exit status. To be called in `root`."""
    from dvc.repo import Repo

    params.check("params.yaml")
    write_valid(VALID)
    values = params.load("params.yaml")
    models = values["run"]["models"]
    with ThreadPoolExecutor() as pool:  # Snakemake builds its graph while files are hashed
        asked = pool.submit(planned_jobs.jobs, root, params.remembered("params.yaml"))
        verdicts = audit.verify(root, models)
        jobs = asked.result()
    if dvc_yaml.update("dvc.yaml", values, jobs):
        print("dvc.yaml: written anew from the jobs of Snakemake")
    if any(verdict.word != audit.OK for verdict in verdicts):
        print(f"nothing recorded:\n{audit.report(verdicts, every=False)}", file=sys.stderr)
        print(
            "what is missing or out of date: run `snakemake --cores all`. What was modified: `dvc checkout --force`\n"
            "and `git checkout figures` bring back what dvc.lock holds (then `make restore`), or delete the file and\n"
            "run. A file without a record, of an item that is gone: delete it.",
            file=sys.stderr,
        )
        return 1
    with Repo(root) as repo:
        changed = _changed_stages(repo, root, values)
        if changed and not _finished():
            return 1
        _commit(repo, changed)
    done = "recorded" if changed else "as recorded before"
    print(f"dvc.lock: {len(verdicts)} artifacts of {', '.join(models)}, {done}")
    try:
        _keep_ledger(Path(root), verdicts, models)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for line in differences(_committed_lock(), _stages(Path("dvc.lock").read_text())):
        print(line)
    return 0


def status(root: Path | str = ".") -> int:
    """Say which stages of the active models DVC finds changed, and how; the exit status, 1 if there are any."""
    from dvc.repo import Repo

    with Repo(root) as repo:
        changed = _changed_stages(repo, root, params.load("params.yaml"))
    print(json.dumps(changed, indent=1) if changed else "DVC finds nothing changed", file=sys.stderr)
    return int(bool(changed))


def _changed_stages(repo: Any, root: Path | str, values: dict) -> dict[str, list]:
    """What DVC finds changed in the stages of the active models; the artifacts of others need not be here."""
    stages = dvc_lock.stages(root, values)
    return {stage: lines for stage, lines in repo.status().items() if stage in stages}


def _commit(repo: Any, names: Container[str]) -> None:
    """Put the stages `names` into dvc.lock as they lie here: `dvc commit --force` of several, which it has not."""
    from dvc.repo import locked

    def commit(repo: Any) -> None:
        stages = [stage for stage in repo.index.stages if stage.addressing in names]
        for stage in stages:
            stage.save()
            stage.commit()
        if stages:  # all of one dvc.yaml
            stages[0].dvcfile.dump_stages(stages, update_pipeline=False)

    locked(commit)(repo)


def write_valid(path: Path | str) -> None:
    """Write down with which schema params.yaml was found valid: what every stage of dvc.yaml depends on."""
    from engram.job import arguments  # imports pandas, slow for a command that only reads

    schema = Path("workflow/params.schema.json")
    job = arguments.Job(
        Path(params.__file__),
        ["workflow/lib/engram/settings/params.py"],
        {},
        inputs=SimpleNamespace(schema=schema),
        outputs=SimpleNamespace(valid=Path(path)),
        keys=SimpleNamespace(),
    )
    job.write("valid", {"schema": lineage.sha256(schema)})


def _keep_ledger(root: Path, verdicts: list, models: list[str]) -> None:
    """Write ledger.jsonl, and name code that no commit has yet."""
    records = {verdict.path: audit.read_record(root, verdict.path) for verdict in verdicts}
    if Ledger(root).gather(records, models):
        print("ledger.jsonl: when, where and from which commit they were made")
    used = code_versions.uncommitted(root) & {name for record in records.values() for name in record.get("modules", ())}
    if used:
        print(f"made with code that no commit has: commit {', '.join(sorted(used))} with dvc.lock")


def _finished() -> bool:
    """Whether Snakemake has nothing to do: artifacts of other params or other code must not be recorded as these."""
    run = subprocess.run([Path(sys.executable).parent / "snakemake", "--dry-run"], capture_output=True, text=True)
    done = run.returncode == 0 and "Nothing to be done" in run.stdout + run.stderr
    if not done:
        print("nothing recorded: the run is not finished, `snakemake --cores all` has jobs left", file=sys.stderr)
    return done


def _stages(text: str) -> dict:
    return (yaml.load(text, yaml.CSafeLoader) or {}).get("stages", {})


def _committed_lock() -> dict:
    """The stages of dvc.lock as git has it; none if it has none."""
    shown = subprocess.run(["git", "show", "HEAD:./dvc.lock"], capture_output=True, text=True)
    return _stages(shown.stdout) if shown.returncode == 0 else {}


def differences(committed: dict, now: dict) -> list[str]:
    """A line per stage whose outputs differ from the committed lock: rebuilt with the same settings and code, or not.

    An input that differs only because it was rebuilt is no change.
    """
    stages = {
        name: stage for name, stage in now.items() if name in committed and _changed(committed[name], stage, "outs")
    }
    causes: dict[str, list[str]] = {}
    rebuilt: set[str] | None = None
    while rebuilt != (
        rebuilt := {
            path
            for name, stage in stages.items()
            if not causes.get(name, [name])
            for path in _changed(committed[name], stage, "outs")
        }
    ):
        causes = {name: _causes(committed[name], stage, rebuilt) for name, stage in stages.items()}
    return [
        f"{name}: changed with {', '.join(why)}"
        if why
        else f"{name}: rebuilt here, differs from the committed lock (same settings and code, other bytes)"
        for name, why in causes.items()
    ]


def _causes(before: dict, after: dict, rebuilt: set) -> list[str]:
    changed = [
        path
        for path in sorted(_changed(before, after, "deps"))
        if not any(Path(path).is_relative_to(out) for out in rebuilt)
    ]
    return changed + (["params"] if before.get("params") != after.get("params") else [])


def _changed(before: dict, after: dict, kind: str) -> set:
    old, new = ({entry["path"]: entry["md5"] for entry in stage.get(kind, [])} for stage in (before, after))
    return {path for path in old | new if old.get(path) != new.get(path)}
