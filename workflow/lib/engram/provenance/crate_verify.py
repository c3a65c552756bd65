"""Reading a crate of engram.provenance.crate again: every file against its hash, the records as a chain (`engram crate
--verify`).
"""

import json
import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from engram.job import lineage
from engram.provenance import audit

ABOUT = "ro-crate-metadata.json"
CODE = ("stale code",)  # a verdict on the code that is installed here, which is not the crate's


def verify(place: Path | str, into: Path | str | None = None) -> list[str]:
    """What is wrong with a crate, a folder or a .zip: a line each. With `into`, a crate in order is put there, a new
    folder.

    ValueError for what is no crate, or a name in it that leads outside; nothing is written then.
    """
    place = Path(place)
    if into is not None and Path(into).exists():
        raise FileExistsError(f"{into} is there already; give another name, or remove it")
    base = Path(into).absolute().parent if into else None
    with tempfile.TemporaryDirectory(prefix=".crate-", suffix=".part", dir=base) as scratch:
        folder = Path(scratch, "crate")
        _unpack(place, folder)
        problems = _problems(folder)
        if not problems and into is not None:
            os.replace(folder, into)
    return problems


def _unpack(place: Path, folder: Path) -> None:
    """The files of a crate in a new folder; no links, no names that lead outside."""
    if place.is_dir():
        links = [path for path in place.rglob("*") if path.is_symlink()]
        if links:
            raise ValueError(f"{links[0]}: a link; a crate holds files")
        shutil.copytree(place, folder)
        return
    try:
        with zipfile.ZipFile(place) as archive:
            for member in archive.infolist():
                inside(member.filename, place)
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise ValueError(f"{place}: {member.filename} is a link; a crate holds files")
            for member in archive.infolist():
                archive.extract(member, folder)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{place}: not a zip that can be read: {error}") from error


def inside(name: str, place: Path | str) -> str:
    """The name of a file of a crate, if it is a path below the crate's folder. ValueError if it leads outside; `place`:
    the crate, for the message.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or "\\" in name or "\0" in name or ".." in parts or ":" in parts[0]:
        raise ValueError(
            f"{place}: the name {name!r} leads outside; the crate is not to be trusted, nothing was unpacked"
        )
    return name


def _problems(folder: Path) -> list[str]:
    files = _files(folder)
    lines = []
    for name, entity in files.items():
        path = folder / name
        if not path.is_file():
            lines.append(f"missing: {name}")
        elif "sha256" not in entity:
            lines.append(f"no hash: {name}")
        elif lineage.sha256(path) != entity["sha256"]:
            lines.append(f"modified: {name} is not what was exported")
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    lines += [f"unaccounted: {name} is not described" for name in sorted(here - set(files) - {ABOUT})]
    lines += [
        f"{verdict.word}: {verdict.path} {verdict.detail}".rstrip()
        for verdict in audit.verify(folder)
        if verdict.word not in (audit.OK, *CODE)
    ]
    return lines


def _files(folder: Path) -> dict[str, dict]:
    """The files that the metadata describe, by their path."""
    try:
        graph = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["@graph"]
        entities = [
            entity
            for entity in graph
            if "File" in ([entity["@type"]] if isinstance(entity["@type"], str) else entity["@type"])
        ]
        return {inside(unquote(entity["@id"]), ABOUT): entity for entity in entities}
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"no RO-Crate: {ABOUT} cannot be read ({type(error).__name__}: {error})") from error


def main(place: Path | str, into: Path | str | None = None) -> int:
    """Verify a crate and say what is wrong with it; the exit status."""
    problems = verify(place, into)
    print("\n".join(problems) or f"{place}: in order{f', unpacked into {into}' if into else ''}")
    return int(bool(problems))
