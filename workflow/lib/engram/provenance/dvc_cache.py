"""DVC's cache, object by object: `dvc checkout` trusts what lies there. Never imports torch.

An object's name is the md5 of its content. A damaged one is removed, and made anew where the workspace still has the
content; else `dvc pull` or a run brings it back.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import yaml


def verify(root: Path | str = ".") -> int:
    """Hash every object of the cache of the repository in `root`; returns the exit status, 1 if one is missing now."""
    from dvc.repo import Repo

    with Repo(root) as repo:
        folder = Path(repo.cache.local.path)
    objects = sorted(path for path in folder.glob("[0-9a-f][0-9a-f]/*") if path.is_file() and len(path.stem) == 30)
    damaged = [path for path in objects if _md5(path) != _name(path)]
    names = _names(Path(root), folder) if damaged else {}
    lost = 0
    for path in damaged:
        path.unlink()
        file = names.get(_name(path))
        if file and (Path(root) / file).is_file() and _md5(Path(root) / file) == _name(path):
            _put(path, (Path(root) / file).read_bytes())
            print(f"{path}: damaged; made anew from {file}")
        else:
            lost += 1
            print(
                f"{path}: damaged, removed; it was {file or 'of another version or of a folder'}; `dvc pull` brings it "
                "back from a remote, else delete the file and run again, and `engram record`",
                file=sys.stderr,
            )
    print(f"{len(objects)} objects of DVC's cache, {len(damaged)} damaged, {len(damaged) - lost} of them made anew")
    return int(lost > 0)


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _name(path: Path) -> str:
    """The md5 that an object is named after."""
    return path.parent.name + path.name.removesuffix(".dir")


def _put(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.chmod(0o444)
    os.replace(part, path)


def _names(root: Path, folder: Path) -> dict[str, str]:
    """md5 -> path, of all files that dvc.lock tracks."""
    lock, names = root / "dvc.lock", {}
    stages = (
        (yaml.load(lock.read_text(encoding="utf-8"), yaml.CSafeLoader) or {}).get("stages", {})
        if lock.is_file()
        else {}
    )
    for out in [out for stage in stages.values() for out in stage.get("outs", [])]:
        names[out["md5"].removesuffix(".dir")] = out["path"]
        listing = folder / out["md5"][:2] / out["md5"][2:]
        if out["md5"].endswith(".dir") and listing.is_file() and _md5(listing) == _name(listing):
            for entry in json.loads(listing.read_bytes()):
                names[entry["md5"]] = f"{out['path']}/{entry['relpath']}"
    return names
