"""Does dvc.lock say what lies here? Commands and settings as dvc.yaml and the parameter file have them, every file
hashed again.

DVC itself trusts its notes on size and time of a file; this does not, and needs no DVC.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import yaml

LOCK, PIPELINE = Path("dvc.lock"), Path("dvc.yaml")
NO_ARTIFACT = ("__pycache__", "*.pyc", ".*.part")  # as .dvcignore has it


def read(path: Path) -> dict:
    """The content of a file of YAML; empty if there is none."""
    return yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader) if path.is_file() else {}


def stages(root: Path | str, values: dict) -> dict[str, dict]:
    """The stages of dvc.yaml for the active models: name -> cmd, deps, outs (paths) and params (keys)."""
    content, resolved = read(Path(root) / PIPELINE), {}
    names = {f"${{{key}}}": value for block in content.get("vars", []) for key, value in block.items()}
    for name, block in content.get("stages", {}).items():
        if "foreach" not in block:
            resolved[name] = _resolved(block, names)
            continue
        active = values["run"]["models"]
        each = block["foreach"] if not isinstance(block["foreach"], str) else active  # ${run.models}
        for model in (model for model in each if model in active):
            own = each[model] if isinstance(each, dict) else {}
            filled = {f"${{item.{key}}}": value for key, value in own.items()} | {"${item}": model, "${key}": model}
            resolved[f"{name}@{model}"] = _resolved(block["do"], names | filled)
    return resolved


def _resolved(block: dict, names: dict[str, str]) -> dict:
    """A stage with what `names` holds in the place of its names."""

    def text(value: str) -> str:
        return re.sub("|".join(map(re.escape, names)), lambda match: names[match[0]], value) if names else value

    paths = {
        kind: [text(path) for entry in block.get(kind, []) for path in ([entry] if isinstance(entry, str) else entry)]
        for kind in ("deps", "params", "outs")
    }
    return {"cmd": text(block["cmd"])} | paths


def problems(root: Path | str, values: dict) -> list[tuple[str, str]]:
    """(stage, what its entry in dvc.lock says otherwise than dvc.yaml, the settings `values` and the files here)."""
    root, lock = Path(root), read(Path(root) / LOCK).get("stages", {})
    seen = cache(lambda path: measured(root, path))
    return [
        (name, line)
        for name, stage in stages(root, values).items()
        for line in (_stage(root, stage, lock[name], values, seen) if name in lock else ["is not in dvc.lock"])
    ]


def _stage(root: Path, stage: dict, entry: dict, values: dict, seen: Callable) -> Iterator[str]:
    if entry["cmd"] != stage["cmd"]:
        yield f"command {entry['cmd']}, in dvc.yaml {stage['cmd']}"
    for kind in ("deps", "outs"):
        locked = {noted["path"]: noted for noted in entry.get(kind, [])}
        yield from (f"{path} is not in dvc.lock" for path in stage[kind] if path not in locked)
        yield from (f"{path} is not in dvc.yaml" for path in locked if path not in stage[kind])
        for path, noted in locked.items():
            if seen(path) != (noted["md5"], noted["size"]):
                yield f"{path}: {_difference(root, path, noted, seen(path))}"
    have = entry.get("params", {}).get("params.yaml", {})
    yield from (
        f"params {key}: not what params.yaml has"
        for key in stage["params"]
        if key not in have or _plain(have[key]) != _plain(_value(values, key))
    )
    yield from (f"params {key}: not in dvc.yaml" for key in have if key not in stage["params"])


def _value(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _plain(value: Any) -> Any:
    """The value with 1e-05, which DVC writes and PyYAML takes for a word, as a number."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return float(value) if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value) else value


def _difference(root: Path, path: str, noted: dict, now: tuple[str, int] | None) -> str:
    if now is None:
        return "not here"
    kept = root / ".dvc/cache/files/md5" / noted["md5"][:2] / noted["md5"][2:]
    if not noted["md5"].endswith(".dir") or not kept.is_file():
        return f"md5 {now[0]}, in dvc.lock {noted['md5']}"
    try:
        before = {row["relpath"]: row["md5"] for row in json.loads(kept.read_text(encoding="utf-8"))}
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError):
        return (
            f"md5 {now[0]}, in dvc.lock {noted['md5']}; {kept.relative_to(root)} is damaged, `dvc pull` brings it back"
        )
    files = listed(root / path)
    names = [name for name in sorted({*before, *files}) if before.get(name) != files.get(name, (None,))[0]]
    return f"other than in dvc.lock: {', '.join(names)}" if names else f"size {now[1]}, in dvc.lock {noted['size']}"


def listed(folder: Path) -> dict[str, tuple[str, int]]:
    """The files below a folder that DVC counts: path in it -> md5, bytes."""
    paths = [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(fnmatch(part, pattern) for part in path.relative_to(folder).parts for pattern in NO_ARTIFACT)
    ]
    return {path.relative_to(folder).as_posix(): _md5(path) for path in paths}


def measured(root: Path, path: str) -> tuple[str, int] | None:
    """md5 and bytes of a file, or of a folder as DVC hashes it (the list of its files); None if it is not here."""
    place = Path(root) / path
    if place.is_dir():
        files = sorted(listed(place).items())
        text = json.dumps([{"md5": md5, "relpath": name} for name, (md5, _) in files], sort_keys=True)
        return f"{hashlib.md5(text.encode()).hexdigest()}.dir", sum(size for _, (_, size) in files)
    return _md5(place) if place.is_file() else None


def _md5(path: Path) -> tuple[str, int]:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest(), path.stat().st_size
