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
            todo += [Path(one["path"]) for one in record["inputs"]]
    made = [Path(path) for path, file in files.items() if file["job"]]
    for verdict in audit.verdicts(root, made):
        files[str(verdict.path)] |= {"verdict": verdict.word, "detail": verdict.detail}
    edges = [
        {"from": one["path"], "to": name, "name": one["name"]} for name, job in jobs.items() for one in job["inputs"]
    ]
    edges += [{"from": name, "to": path} for name, job in jobs.items() for path in job["outputs"]]
    return {"artifact": next(iter(files)), "files": files, "jobs": jobs, "edges": edges}


def _record(root: Path, path: Path) -> dict | None:
    """The record of an artifact; None of a raw input."""
    return audit.read_record(root, path) if (root / lineage.record_path(path)).is_file() else None


def name_of(path: Path, record: dict) -> str:
    """A name for what is the same for all files of one run of a script."""
    text = json.dumps([str(path.parent), record["command"], record["params"], record["code"]])
    return f"{record['stage']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def job(record: dict, entry: dict | None) -> dict:
    """What a lineage record and the ledger's entry say of the job."""
    keys = ("stage", "keys", "command", "params", "seed", "code", "modules", "packages", "device", "inputs")
    return {key: record.get(key) for key in keys} | {key: (entry or {}).get(key) for key in KNOWN} | {"outputs": []}


def broken(found: dict) -> list[str]:
    """A line per file of the graph that is not in order."""
    return [
        f"{path}: {file['verdict']} {file['detail']}".rstrip()
        for path, file in found["files"].items()
        if file.get("verdict", audit.OK) != audit.OK
    ]


def tree(found: dict) -> str:
    """The graph as an indented tree: files that one job made stand on one line, a job is described where it occurs
    first.
    """
    lines = list(_branch(found, [{"name": "", "path": found["artifact"]}], "", "", set()))
    packages = found["jobs"][found["files"][found["artifact"]]["job"]]["packages"]
    lines.append(f"versions: {', '.join(f'{name} {version}' for name, version in packages.items())}")
    wrong = broken(found)
    made = sum("verdict" in file for file in found["files"].values())
    lines += [f"not in order: {line}" for line in wrong]
    lines += [] if wrong else [f"verified: {made} artifacts, {len(found['files']) - made} raw inputs"]
    return "\n".join(lines)


def _branch(found: dict, files: list[dict], first: str, rest: str, seen: set[str]) -> Iterator[str]:
    paths = [one["path"] for one in files]
    names = ", ".join(dict.fromkeys(one["name"] for one in files if one["name"]))
    label = f"{first}{names}{': ' if names else ''}{', '.join([paths[0], *(Path(path).name for path in paths[1:])])}"
    sums = ", ".join((found["files"][path]["sha256"] or "not here")[:12] for path in paths)
    job = found["files"][paths[0]]["job"]
    if job is None:
        yield f"{label}   raw input, sha256 {sums}"
        return
    yield label + (f"   sha256 {sums}" if job not in seen else "   (shown above)")
    if job in seen:
        return
    seen.add(job)
    about = found["jobs"][job]
    groups: dict[str, list[dict]] = {}
    for one in about["inputs"]:
        groups.setdefault(found["files"][one["path"]]["job"] or one["path"], []).append(one)
    bar = rest + ("│    " if groups else "     ")
    yield from (bar + line for line in _described(found, about))
    for left, group in reversed(list(enumerate(reversed(groups.values())))):
        yield from _branch(found, group, rest + ("├─ " if left else "└─ "), rest + ("│  " if left else "   "), seen)


def _described(found: dict, job: dict) -> Iterator[str]:
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
    last = found["jobs"][found["files"][found["artifact"]]["job"]]["packages"]
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


def mermaid(found: dict) -> str:
    """The graph as a Mermaid flowchart, inputs above what was made from them."""
    names = _numbers(found)
    lines = ["flowchart TD"]
    for path, file in found["files"].items():
        lines.append(f'  {names[path]}["{_html(path)}<br/>{(file["sha256"] or "not here")[:12]}"]')
    for name, job in found["jobs"].items():
        lines.append(f'  {names[name]}(["{_html(" ".join(_title(job)))}"])')
    lines += [f"  {names[edge['from']]} --> {names[edge['to']]}" for edge in found["edges"]]
    return "\n".join(lines)


def dot(found: dict) -> str:
    """The graph in graphviz's language."""
    names = _numbers(found)
    lines = ["digraph lineage {", '  node [fontname="sans-serif", fontsize=10];']
    for path, file in found["files"].items():
        lines.append(f"  {names[path]} [shape=box, label={_quoted(path, (file['sha256'] or 'not here')[:12])}];")
    for name, job in found["jobs"].items():
        lines.append(f"  {names[name]} [shape=ellipse, label={_quoted(*_title(job))}];")
    lines += [f"  {names[edge['from']]} -> {names[edge['to']]};" for edge in found["edges"]]
    return "\n".join([*lines, "}"])


def _numbers(found: dict) -> dict[str, str]:
    return {
        name: f"{kind}{number}"
        for kind, part in (("f", "files"), ("j", "jobs"))
        for number, name in enumerate(found[part])
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
    forms = {"tree": tree, "json": lambda found: json.dumps(found, indent=1), "mermaid": mermaid, "dot": dot}
    return forms[form](graph(root, artifact))
