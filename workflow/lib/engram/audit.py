"""Is every artifact what its lineage record says, and does the chain of records hold? Never imports torch.

An artifact is any file of a model under data/, results/ or figures/; the record of `folder/name` is `folder/.lineage/name.json`.
What lies in data/ itself is no artifact: git keeps it.
"""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

from engram import lineage

FOLDERS = ("data", "results", "figures")
OK = "ok"
FAILURES = {
    "missing": "the record is here, the file is not",
    "no record": "nothing says where the file comes from",
    "record edited": "the record is not what was written",
    "modified": "the file is not what was written",
    "input changed": "an input is not what the file was made from",
    "stale code": "the code has changed since the file was made",
}


class Verdict(NamedTuple):
    path: Path  # relative to the repository
    word: str  # OK or a key of FAILURES
    detail: str = ""


def artifacts(root: Path, models=None) -> list[Path]:
    """Paths, relative to `root`, of all artifacts and of all files that have a record; only of `models` if given."""
    found = set()
    for path in (path for folder in FOLDERS for path in (root / folder).rglob("*") if path.is_file()):
        place = path.relative_to(root)
        if place.parent.name == ".lineage":
            found.add(place.parent.parent / place.name.removesuffix(".json"))
        elif not place.name.startswith(".") and place.parent != Path("data"):
            found.add(place)
    return sorted(path for path in found if models is None or model_of(path) in models)


def model_of(path: Path) -> str | None:
    """The model an artifact belongs to: its folder names it, below the stage if there is one."""
    parts = path.parts[2:] if path.parts[0] == "results" else path.parts[1:]
    return parts[0] if len(parts) > 1 else None


def verify(root, models=None) -> list[Verdict]:
    """One verdict per artifact under `root`, by hashing all of them again."""
    root = Path(root)
    current = cache(lambda path: lineage.sha256(root / path) if (root / path).is_file() else None)
    return [_verdict(root, path, current) for path in artifacts(root, models)]


def _verdict(root: Path, path: Path, current) -> Verdict:
    if current(path) is None:
        return Verdict(path, "missing")
    try:
        record = read_record(root, path)
    except FileNotFoundError:
        return Verdict(path, "no record")
    except ValueError as error:
        return Verdict(path, "record edited", str(error))
    if record["artifact"] != path.name or record["sha256"] != current(path):
        return Verdict(path, "modified", f"made as {record['artifact']} with sha256 {record['sha256'][:12]}")
    changed = [one["path"] for one in record["inputs"] if current(Path(one["path"])) != one["sha256"]]
    if changed:
        gone = [one for one in changed if current(Path(one)) is None]
        return Verdict(path, "input changed", ", ".join(f"{one} (not here)" if one in gone else one for one in changed))
    return _code_verdict(root, path, record)


def _code_verdict(root: Path, path: Path, record: dict) -> Verdict:
    script = root / record["command"][0]
    if not script.is_file():
        return Verdict(path, "stale code", f"{record['command'][0]} (not here)")
    now = lineage.code_digest(*lineage.code_roots(script, record["params"].get("method")))
    if now != record["code"]:
        return Verdict(path, "stale code", f"{record['command'][0]} or what it imports: {record['code']}, now {now}")
    return Verdict(path, OK)


def read_record(root: Path, path: Path) -> dict:
    """The lineage record of an artifact. FileNotFoundError without one; ValueError if it was edited."""
    place = lineage.record_path(path)
    try:
        record = json.loads((root / place).read_text(encoding="utf-8"))
        whole = record == lineage.seal(record)
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError):
        whole = False
    if not whole:
        raise ValueError(f"{place} does not carry its own digest")
    return record


def report(verdicts: list[Verdict], every: bool = True) -> str:
    """A line per artifact (or per failure only) and a line that counts them."""
    shown = [verdict for verdict in verdicts if every or verdict.word != OK]
    lines = [f"{word:<14} {path}" + (f"   {detail}" if detail else "") for path, word, detail in shown]
    counts = {word: sum(verdict.word == word for verdict in verdicts) for word in (OK, *FAILURES)}
    lines += [f"{counts[word]} {word}: {FAILURES[word]}" for word in FAILURES if counts[word]]
    return "\n".join([*lines, f"{len(verdicts)} artifacts, {counts[OK]} ok, {len(verdicts) - counts[OK]} failed"])


def tree(root, artifact) -> str:
    """The chain of one artifact, from itself down to seeds and raw inputs, as an indented tree.

    Files that one job made stand on one line; a job is described where it occurs first.
    """
    root, path = Path(root), Path(artifact)
    path = path.relative_to(root.resolve()) if path.is_absolute() else path
    read_record(root, path)  # FileNotFoundError, ValueError
    return "\n".join(_branch(root, [{"name": "", "path": str(path)}], "", "", set()))


def _branch(root: Path, files: list[dict], first: str, rest: str, seen: set):
    paths = [Path(one["path"]) for one in files]
    names = ", ".join(dict.fromkeys(one["name"] for one in files if one["name"]))
    label = f"{first}{names}{': ' if names else ''}{', '.join([str(paths[0]), *(path.name for path in paths[1:])])}"
    job = _job(root, paths[0])
    if job is None:
        here = (root / paths[0]).is_file()
        yield label + (f"   raw input, sha256 {lineage.sha256(root / paths[0])[:12]}" if here else "   not here")
        return
    yield label + ("   (shown above)" if job in seen else "")
    if job in seen:
        return
    seen.add(job)
    record, groups = read_record(root, paths[0]), {}
    for one in record["inputs"]:
        groups.setdefault(_job(root, Path(one["path"])) or one["path"], []).append(one)
    bar = rest + ("│    " if groups else "     ")
    yield f"{bar}stage {record['stage']}, code {record['code']}, seed {record['seed']}, device {record['device']}"
    yield from (bar + line for line in _settings(record["params"]))
    for left, group in reversed(list(enumerate(reversed(groups.values())))):
        yield from _branch(root, group, rest + ("├─ " if left else "└─ "), rest + ("│  " if left else "   "), seen)


def _job(root: Path, path: Path) -> str | None:
    """What is the same for all files of one run of a script; None for a raw input."""
    if not (root / lineage.record_path(path)).is_file():
        return None
    record = read_record(root, path)
    return json.dumps([str(path.parent), record["command"], record["params"], record["code"]])


def _settings(params: dict):
    """The params that the artifact depends on, one line per section or single value."""
    for section, values in params.items():
        if not isinstance(values, dict):
            yield from [f"{section}: {_short(values)}"] * (section != "seed")
        elif values:
            yield f"{section}: " + ", ".join(f"{key}={_short(value)}" for key, value in values.items())


def _short(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_short(item)}" for key, item in value.items()) + "}"
    return json.dumps(value) if not isinstance(value, str) else value
