"""The chain of an artifact, from itself down to seeds and raw inputs: `engram lineage`. Never imports torch.

A graph is {artifact, files, jobs, edges}: `files` by path (sha256, bytes, job, verdict of the audit), `jobs` by name
(all that their records and the ledger say), `edges` from file to job (with the name of the input) and from job to file.
"""

import hashlib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engram.job import lineage
from engram.provenance import audit
from engram.provenance.ledger import Ledger

KNOWN = ("commit", "dirty", "started", "seconds", "machine")  # by the ledger


def graph(root: Path | str, artifact: Path | str) -> dict:
    """The whole chain of one artifact, every file hashed again. FileNotFoundError without record, ValueError of an
    edited one.
    """
    root, path = Path(root), Path(artifact)
    path = path.relative_to(root.resolve()) if path.is_absolute() else path
    audit.read_record(root, path)
    book, todo = Ledger(root), [path]
    files: dict[str, dict] = {}
    jobs: dict[str, dict] = {}
    while todo:
        path = todo.pop()
        if str(path) in files:
            continue
        record = _record(root, path)
        here = (root / path).is_file()
        files[str(path)] = {
            "sha256": lineage.sha256(root / path) if here else None,
            "bytes": (root / path).stat().st_size if here else None,
            "job": None,
        }
        if record:
            name = name_of(path, record)
            files[str(path)]["job"] = name
            jobs.setdefault(name, job(record, book.of(path, record)))["outputs"].append(str(path))
            todo += [Path(source["path"]) for source in record["inputs"]]
    made = [Path(path) for path, file in files.items() if file["job"]]
    for verdict in audit.verdicts(root, made):
        files[str(verdict.path)] |= {"verdict": verdict.word, "detail": verdict.detail}
    edges = [
        {"from": source["path"], "to": name, "name": source["name"]}
        for name, job in jobs.items()
        for source in job["inputs"]
    ]
    edges += [{"from": name, "to": path} for name, job in jobs.items() for path in job["outputs"]]
    return {"artifact": next(iter(files)), "files": files, "jobs": jobs, "edges": edges}


def _record(root: Path, path: Path) -> dict | None:
    """The record of an artifact; None of a raw input."""
    return audit.read_record(root, path) if (root / lineage.record_path(path)).is_file() else None


def name_of(path: Path, record: dict) -> str:
    """The name of the job that wrote an artifact, the same for all files that it wrote: its stage and the start of a
    hash of folder, command, settings and code.
    """
    text = json.dumps([str(path.parent), record["command"], record["params"], record["code"]])
    return f"{record['stage']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def job(record: dict, entry: dict | None) -> dict:
    """What a lineage record and the ledger's entry say of the job."""
    keys = ("stage", "keys", "command", "params", "seed", "code", "modules", "packages", "device", "inputs")
    return {key: record.get(key) for key in keys} | {key: (entry or {}).get(key) for key in KNOWN} | {"outputs": []}


def broken(dag: dict) -> list[str]:
    """A line per file of the graph that is not in order."""
    return [
        f"{path}: {file['verdict']} {file['detail']}".rstrip()
        for path, file in dag["files"].items()
        if file.get("verdict", audit.OK) != audit.OK
    ]


def tree(dag: dict) -> str:
    """The graph as an indented tree: files that one job made stand on one line, a job is described where it occurs
    first.
    """
    lines = list(_branch(dag, [{"name": "", "path": dag["artifact"]}], "", "", set()))
    packages = dag["jobs"][dag["files"][dag["artifact"]]["job"]]["packages"]
    lines.append(f"versions: {', '.join(f'{name} {version}' for name, version in packages.items())}")
    wrong = broken(dag)
    made = sum("verdict" in file for file in dag["files"].values())
    lines += [f"not in order: {line}" for line in wrong]
    lines += [] if wrong else [f"verified: {made} artifacts, {len(dag['files']) - made} raw inputs"]
    return "\n".join(lines)


def _branch(dag: dict, files: list[dict], first: str, rest: str, seen: set[str]) -> Iterator[str]:
    paths = [source["path"] for source in files]
    names = ", ".join(dict.fromkeys(source["name"] for source in files if source["name"]))
    label = f"{first}{names}{': ' if names else ''}{', '.join([paths[0], *(Path(path).name for path in paths[1:])])}"
    sums = ", ".join((dag["files"][path]["sha256"] or "not here")[:12] for path in paths)
    job = dag["files"][paths[0]]["job"]
    if job is None:
        yield f"{label}   raw input, sha256 {sums}"
        return
    yield label + (f"   sha256 {sums}" if job not in seen else "   (shown above)")
    if job in seen:
        return
    seen.add(job)
    about = dag["jobs"][job]
    groups: dict[str, list[dict]] = {}
    for source in about["inputs"]:
        groups.setdefault(dag["files"][source["path"]]["job"] or source["path"], []).append(source)
    bar = rest + ("│    " if groups else "     ")
    yield from (bar + line for line in _described(dag, about))
    for left, group in reversed(list(enumerate(reversed(groups.values())))):
        yield from _branch(dag, group, rest + ("├─ " if left else "└─ "), rest + ("│  " if left else "   "), seen)


def _described(dag: dict, job: dict) -> Iterator[str]:
    """What is said of a job: stage, code, commit, clock, command, settings; versions, where not those of the
    artifact.
    """
    yield f"stage {job['stage']}, code {job['code']}, seed {job['seed']}, device {job['device']}"
    yield when(job)
    yield f"command: {shlex.join(job['command'])}"
    for section, values in job["params"].items():
        if not isinstance(values, dict):
            yield from [f"{section}: {_short(values)}"] * (section != "seed")
        elif values:
            yield f"{section}: " + ", ".join(f"{key}={_short(value)}" for key, value in values.items())
    last = dag["jobs"][dag["files"][dag["artifact"]]["job"]]["packages"]
    others = [f"{name} {version}" for name, version in job["packages"].items() if last.get(name) != version]
    if others:
        yield f"versions: {', '.join(others)}"


def when(job: dict) -> str:
    """Commit, start, duration and machine of a job, as far as they are known."""
    if job["started"] is None:
        return "commit, time and duration not known here"
    commit = f"commit {job['commit'][:12]}" if job["commit"] else "no commit"
    dirty = " with uncommitted changes" if job["dirty"] else ""
    took = f"{job['seconds']:.1f} s" if job["seconds"] is not None else "duration not known here"
    machine = job["machine"]
    return (
        f"{commit}{dirty}, started {job['started']}, {took}, on {machine.get('gpu') or machine['processor']} "
        f"({machine['cores']} cores, {machine['system']}, Python {machine['python']})"
    )


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_short(item)}" for key, item in value.items()) + "}"
    return json.dumps(value) if not isinstance(value, str) else value


def mermaid(dag: dict) -> str:
    """The graph as a Mermaid flowchart, inputs above what was made from them."""
    names = _numbers(dag)
    lines = ["flowchart TD"]
    for path, file in dag["files"].items():
        lines.append(f'  {names[path]}["{_html(path)}<br/>{(file["sha256"] or "not here")[:12]}"]')
    for name, job in dag["jobs"].items():
        lines.append(f'  {names[name]}(["{_html(" ".join(_title(job)))}"])')
    lines += [f"  {names[edge['from']]} --> {names[edge['to']]}" for edge in dag["edges"]]
    return "\n".join(lines)


def dot(dag: dict) -> str:
    """The graph in graphviz's language."""
    names = _numbers(dag)
    lines = ["digraph lineage {", '  node [fontname="sans-serif", fontsize=10];']
    for path, file in dag["files"].items():
        lines.append(f"  {names[path]} [shape=box, label={_quoted(path, (file['sha256'] or 'not here')[:12])}];")
    for name, job in dag["jobs"].items():
        lines.append(f"  {names[name]} [shape=ellipse, label={_quoted(*_title(job))}];")
    lines += [f"  {names[edge['from']]} -> {names[edge['to']]};" for edge in dag["edges"]]
    return "\n".join([*lines, "}"])


def _numbers(dag: dict) -> dict[str, str]:
    return {
        name: f"{kind}{number}"
        for kind, part in (("f", "files"), ("j", "jobs"))
        for number, name in enumerate(dag[part])
    }


def _title(job: dict) -> list[str]:
    took = [] if job["seconds"] is None else [f"{job['seconds']:.1f} s"]
    keys = [f"{key}={value}" for key, value in job["keys"].items()]
    return [job["stage"], *keys, *([f"commit {job['commit'][:12]}"] if job["commit"] else []), *took]


def _html(text: str) -> str:
    for sign, entity in (("&", "&amp;"), ('"', "&quot;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, entity)
    return text


def _quoted(*lines: str) -> str:
    """A label of several lines as a quoted string of graphviz."""
    return '"' + "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines) + '"'


def main(root: Path | str, artifact: Path | str, form: str) -> str:
    """The chain of an artifact, from itself to seeds and raw inputs, as text in one form: tree, json, mermaid or dot.
    FileNotFoundError without record, ValueError of an edited one.
    """
    forms = {"tree": tree, "json": lambda dag: json.dumps(dag, indent=1), "mermaid": mermaid, "dot": dot}
    return forms[form](graph(root, artifact))
