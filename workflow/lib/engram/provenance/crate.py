"""A run as a research object that archives accept: RO-Crate with the profile Provenance Run Crate 0.5 (`engram crate
OUT`).

The workflow is the Snakefile, a step is a stage word, its tools are the scripts; every job is an action with its
inputs, outputs, settings, start and end. All files carry their sha256. `engram.provenance.crate_verify` reads such a
crate again.
"""

import json
import mimetypes
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from engram.job import ledger_entry, lineage
from engram.provenance import audit, chain
from engram.provenance.ledger import Ledger, stage_of

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/provenance/0.5": ("Provenance Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
CONTEXT = "https://w3id.org/ro/terms/workflow-run/context"
PARAMETER = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
CODE = ("Snakefile", "params.yaml", "dvc.yaml", "dvc.lock", "ledger.jsonl", "README.md", "requirements.lock")
FOLDERS = ("workflow", "profiles")
TYPES = {"int": "Integer", "float": "Float", "bool": "Boolean", "str": "Text"}
TERMS = "the workflow: MIT licence (file LICENSE of its repository); the sources of data: the licences in params.yaml"


def export(root: Path | str, out: Path | str, models: list[str]) -> int:
    """Write the artifacts of the models, their records, the code and what made what to `out`, a folder or a .zip that
    is not there yet; returns the number of jobs. ValueError if an artifact is not in order, FileExistsError.
    """
    root, out = Path(root), Path(out)
    if out.exists():
        raise FileExistsError(f"{out} is there already; give another name, or remove it")
    verdicts = audit.verify(root, models)
    bad = [verdict for verdict in verdicts if verdict.word != audit.OK]
    if bad or not verdicts:
        raise ValueError(
            audit.report(bad, every=False) if bad else f"there is no artifact of {', '.join(models)}: run make"
        )
    records = {verdict.path: audit.read_record(root, verdict.path) for verdict in verdicts}
    crate = Builder(root, records).build()
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        part = scratch / f"crate{out.suffix}"
        crate.write_zip(part) if out.suffix == ".zip" else crate.write(part)
        os.replace(part, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return len(crate.get_by_type("CreateAction")) - 1  # without that of the workflow


class Builder:
    """The crate of these artifacts (path -> lineage record), entity by entity."""

    def __init__(self, root: Path, records: dict[Path, dict]):
        self.root, self.records, self.book = root, records, Ledger(root)
        self.crate = ROCrate(version="1.1")
        self.files: dict[str, Entity] = {}
        self.values: dict[str, Entity] = {}

    def build(self) -> ROCrate:
        """The crate with files, jobs, settings and the workflow; nothing is written."""
        self._root()
        workflow = self.crate.add_workflow(
            self.root / "Snakefile",
            "Snakefile",
            main=True,
            lang="snakemake",
            lang_version=metadata.version("snakemake"),
            properties=self._about("Snakefile")
            | {"@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]},
        )
        self.files["Snakefile"] = workflow
        for name in self._code():
            self._file(name)
        jobs = self._jobs()
        steps = self._steps(workflow, jobs)
        actions = {name: self._action(name, job) for name, job in jobs.items()}
        self._run(workflow, steps, jobs, actions)
        workflow["input"] = [value["exampleOfWork"] for value in self.values.values()]
        return self.crate

    def _root(self) -> None:
        self.crate.metadata.extra_contexts.append(CONTEXT)
        crate, when = self.crate, ledger_entry.git("show", "-s", "--format=%cI", "HEAD", root=self.root)
        models = ", ".join(
            sorted({record["keys"]["model"] for record in self.records.values() if "model" in record["keys"]})
        )
        crate.name = f"engram: locating and editing factual associations, {models}"
        crate.description = (
            "A run of the workflow engram: every figure and table with the data, the code, the settings and "
            "the jobs that made it."
        )
        crate.datePublished = (
            datetime.fromisoformat(when.strip())
            if when
            else max(
                (entry["started"] for path, record in self.records.items() if (entry := self.book.of(path, record))),
                default="2026",
            )
        )
        crate.license = self._entity("#terms", "CreativeWork", name="Terms of use", description=TERMS)
        crate.root_dataset["conformsTo"] = [
            self._entity(uri, "CreativeWork", name=name, version=version) for uri, (name, version) in PROFILES.items()
        ]

    def _entity(self, identifier: str, kind: str, /, **properties: Any) -> Entity:
        known = self.crate.get(identifier)
        return known or self.crate.add(ContextEntity(self.crate, identifier, properties={"@type": kind} | properties))

    def _about(self, name: str) -> dict:
        path = self.root / name
        kind = mimetypes.guess_type(name)[0] or {
            ".parquet": "application/vnd.apache.parquet",
            ".md": "text/markdown",
        }.get(
            path.suffix, "text/plain" if path.suffix in (".smk", ".yaml", ".lock", "") else "application/octet-stream"
        )
        code = {"@type": ["File", "SoftwareSourceCode"]} if path.suffix == ".py" else {}
        return code | {
            "name": name,
            "sha256": lineage.sha256(path),
            "contentSize": str(path.stat().st_size),
            "encodingFormat": kind,
        }

    def _code(self) -> list[str]:
        files = [
            path.relative_to(self.root)
            for folder in FOLDERS
            for path in sorted((self.root / folder).rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
        ]
        return [name for name in CODE if (self.root / name).is_file() and name != "Snakefile"] + [
            str(path) for path in files
        ]

    def _file(self, name: str) -> Entity:
        """The entity of a file in the repository; of a raw input from elsewhere, one that names it and its hash."""
        if name not in self.files:
            outside = Path(name).is_absolute() or ".." in Path(name).parts
            self.files[name] = (
                self._entity(f"#input/{Path(name).name}", "CreativeWork", name=Path(name).name)
                if outside
                else self.crate.add_file(self.root / name, name, properties=self._about(name))
            )
        return self.files[name]

    def _jobs(self) -> dict[str, dict]:
        """Name of a job -> what its record and the ledger say, with the files it wrote."""
        jobs: dict[str, dict] = {}
        for path, record in self.records.items():
            job = jobs.setdefault(chain.name_of(path, record), chain.job(record, self.book.of(path, record)))
            job["outputs"].append(str(path))
            self._file(str(path))
            self._file(str(lineage.record_path(path)))
        for job in jobs.values():
            job["word"] = stage_of(Path(job["outputs"][0]))
        return jobs

    def _steps(self, workflow: Entity, jobs: dict[str, dict]) -> dict[str, Entity]:
        """Stage word -> its step; a step's tools are the scripts of its jobs."""
        tools: dict[str, list[str]] = {}
        for job in jobs.values():
            if job["command"][0] not in tools.setdefault(job["word"], []):
                tools[job["word"]].append(job["command"][0])
        steps = {}
        for position, (word, scripts) in enumerate(tools.items(), 1):
            for script in scripts:
                workflow.append_to("hasPart", self._file(script))
            steps[word] = self._entity(
                f"Snakefile#{word}",
                "HowToStep",
                name=word,
                position=str(position),
                workExample=[self._file(script) for script in scripts],
            )
        workflow["step"] = list(steps.values())
        return steps

    def _action(self, name: str, job: dict) -> Entity:
        settings = [self._value(key, value) for key, value in flat(job["params"]) if value is not None]
        ends = _end(job)
        about = {
            "name": f"{job['word']}: {' '.join(f'{key}={value}' for key, value in job['keys'].items())}",
            "description": shlex.join(job["command"]),
            "instrument": self._file(job["command"][0]),
            "object": [
                *(self._file(path) for path in dict.fromkeys(source["path"] for source in job["inputs"])),
                *settings,
            ],
            "result": [self._file(path) for path in job["outputs"]],
            "actionStatus": "http://schema.org/CompletedActionStatus",
        }
        return self._entity(f"#{name}", "CreateAction", **about, **ends)

    def _value(self, key: str, value: Any) -> Entity:
        """The entity of one setting, shared by all jobs that have it, and its formal parameter."""
        text = value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
        name = f"#{key}={json.dumps(value)}"
        if name not in self.values:
            kind = TYPES.get(type(value).__name__, "Text")
            parameter = self._entity(
                f"#param/{key}",
                "FormalParameter",
                name=key,
                additionalType=kind,
                conformsTo=self._entity(PARAMETER, "CreativeWork", name="FormalParameter", version="1.0"),
            )
            self.values[name] = self._entity(
                f"#value/{len(self.values)}", "PropertyValue", name=key, value=text, exampleOfWork=parameter
            )
        return self.values[name]

    def _run(
        self, workflow: Entity, steps: dict[str, Entity], jobs: dict[str, dict], actions: dict[str, Entity]
    ) -> None:
        """The workflow's own action and the engine's, which orchestrates those of the steps."""
        made = {path for job in jobs.values() for path in job["outputs"]}
        raw = dict.fromkeys(
            source["path"] for job in jobs.values() for source in job["inputs"] if source["path"] not in made
        )
        times = sorted(job["started"] for job in jobs.values() if job["started"])
        about = {"startTime": times[0]} if times else {}
        run = self._entity(
            "#run",
            "CreateAction",
            name="the whole run",
            instrument=workflow,
            object=[*map(self._file, raw), *self.values.values()],
            result=[self._file(path) for path in sorted(made) if path.startswith("figures/")],
            actionStatus="http://schema.org/CompletedActionStatus",
            **about,
        )
        engine = self._entity(
            "#snakemake",
            "SoftwareApplication",
            name="Snakemake",
            url="https://snakemake.github.io",
            softwareVersion=metadata.version("snakemake"),
        )
        controls = [
            self._entity(
                f"#control/{word}",
                "ControlAction",
                name=f"orchestrate {word}",
                instrument=step,
                object=[actions[name] for name, job in jobs.items() if job["word"] == word],
            )
            for word, step in steps.items()
        ]
        self._entity(
            "#organize",
            "OrganizeAction",
            name="Snakemake runs the workflow",
            instrument=engine,
            object=controls,
            result=run,
            **about,
        )
        self.crate.root_dataset["mentions"] = [run, *actions.values()]


def flat(values: dict, key: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested settings, each with its dotted key below `key`: (trace.samples, 10)."""
    for name, value in values.items():
        place = f"{key}.{name}" if key else name
        if isinstance(value, dict) and value:
            yield from flat(value, place)
        else:
            yield place, value


def _end(job: dict) -> dict:
    """StartTime and endTime of a job, as far as they are known."""
    if job["started"] is None:
        return {}
    ends = (
        {}
        if job["seconds"] is None
        else {
            "endTime": (datetime.fromisoformat(job["started"]) + timedelta(seconds=job["seconds"])).isoformat(
                timespec="seconds"
            )
        }
    )
    return {"startTime": job["started"]} | ends
