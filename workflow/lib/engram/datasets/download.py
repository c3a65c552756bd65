"""One file over HTTP(S): taken up where it stopped, tried again while that can help, and never under its own name
before it is whole. What is there so far is `<name>.part`; `<name>.part.json` says of which version of the file.
"""

import json
import shutil
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import requests
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential
from tqdm import tqdm

from engram.datasets.strict_reading import recognised
from engram.settings.execution import Patience

CHUNK = 1 << 16  # bytes; what comes of an unfinished one is lost
LATER = {408, 425, 429, 500, 502, 503, 504}  # states of a server that may pass


class NotHere(Exception):
    """A place cannot give a file; the text says why."""


class Passing(NotHere):
    """A place cannot give a file now, but may in a while; the text says why."""


def download(url: str, part: Path, patience: Patience, size: int | None = None, bar: bool = True) -> None:
    """Bring the file at `url` to `part`, going on from what is there of the same version. NotHere if that fails.

    `size`: bytes it must have. A part of another version, or of a server that does not say which, is begun anew. A part
    that cannot be completed now stays, so that the next run goes on from it.
    """
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise NotHere(f"only http:// and https:// addresses are asked, not {url!r}")
    part.parent.mkdir(parents=True, exist_ok=True)
    tries = Retrying(
        retry=retry_if_exception_type(Passing),
        stop=stop_after_attempt(patience.attempts),
        reraise=True,
        wait=wait_exponential(multiplier=patience.pause, max=60),
    )
    try:
        tries(_attempt, url, part, patience, size, bar)
    except Passing as error:
        raise NotHere(f"{error} (tried {patience.attempts} times)") from error


def discard(part: Path) -> None:
    """Remove a part and what is known of it."""
    part.unlink(missing_ok=True)
    _about(part).unlink(missing_ok=True)


def _about(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _attempt(url: str, part: Path, patience: Patience, size: int | None, bar: bool) -> None:
    done, version = _begun(url, part)
    headers = {"Accept-Encoding": "identity"}  # lengths and ranges are those of the file
    if done:
        headers |= {"Range": f"bytes={done}-", "If-Range": version}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=patience.timeout) as answer:
            _receive(answer, url, part, done, size, bar)
    except requests.exceptions.Timeout as error:
        raise Passing(f"no byte for {patience.timeout:g} seconds") from error
    except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        raise Passing(_broken(error, part, patience)) from error
    except requests.exceptions.RequestException as error:
        raise NotHere(f"{type(error).__name__}: {error}") from error
    except OSError as error:
        raise NotHere(f"{part} cannot be written: {error.strerror or error}") from error


def _broken(error: Exception, part: Path, patience: Patience) -> str:
    if "Read timed out" in str(error):  # while the body is read, requests calls it a ConnectionError
        return f"no byte for {patience.timeout:g} seconds"
    there = part.stat().st_size if part.exists() else 0
    if there:
        return f"the connection ended after {there:,} bytes: the file is truncated there"
    return f"no connection: {str(error).split('Caused by ')[-1]}"


def _begun(url: str, part: Path) -> tuple[int, str]:
    """Bytes of `url` that are there, and the server's name for that version; 0 if it cannot be gone on with."""
    try:
        about = json.loads(_about(part).read_text(encoding="utf-8"))
        done = part.stat().st_size
    except (FileNotFoundError, ValueError):
        return 0, ""
    return (done, about["version"]) if about.get("url") == url and about.get("version") else (0, "")


def _receive(answer: requests.Response, url: str, part: Path, done: int, size: int | None, bar: bool) -> None:
    code = answer.status_code
    if code == 416 and done:  # the part is as long as the file or longer: of another version, or whole
        if answer.headers.get("Content-Range", "") == f"bytes */{done}" and size in (None, done):
            return
        discard(part)
        raise Passing("the part that was here does not belong to the server's file")
    if code in LATER:
        raise Passing(f"the server answers {code} {answer.reason}")
    if code not in (200, 206):
        raise NotHere(f"the server answers {code} {answer.reason}")
    start = _start(answer) if code == 206 else 0
    if start != done and code == 206:
        discard(part)
        raise Passing(f"asked for the bytes from {done:,} on, the server sends those from {start:,} on")
    plain = answer.headers.get("Content-Encoding", "identity") == "identity"  # else lengths are not those of the file
    length = answer.headers.get("Content-Length") if plain else None
    total = start + int(length) if length is not None else None
    chunks = answer.iter_content(CHUNK)
    first = next(chunks, b"")
    _sane(first, start, total, size)
    room(part, (total or size or 0) - start)
    version = answer.headers.get("ETag", "")
    version = version if version.startswith('"') else answer.headers.get("Last-Modified", "")  # weak ones name no bytes
    version = version if plain else ""
    _about(part).write_text(json.dumps({"url": url, "version": version}), encoding="utf-8")
    _save(part, first, chunks, start, total, bar)
    there = part.stat().st_size
    if (total is not None and there != total) or (size is not None and there < size):
        raise Passing(f"the connection ended after {there:,} of {total or size:,} bytes: the file is truncated there")


def _start(answer: requests.Response) -> int:
    """The first byte of a partial answer; -1 if it does not say."""
    word = answer.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    return int(word) if word.isdigit() else -1


def _sane(first: bytes, start: int, total: int | None, size: int | None) -> None:
    """NotHere if what comes is not the file, so that it is not downloaded at all."""
    wrong = recognised(first) if start == 0 else None
    if wrong:
        raise NotHere(wrong)
    if size is not None and total is not None and total != size:
        raise NotHere(f"the server's file has {total:,} bytes, expected {size:,}")


def room(part: Path, more: int) -> None:
    """NotHere if the disk of the folder that `part` lies in has not so many bytes more."""
    free = shutil.disk_usage(part.parent).free
    if more > free:
        raise NotHere(f"{part.parent} has {free / 2**30:.1f} GiB free, {more / 2**30:.1f} are needed")


def _save(part: Path, first: bytes, chunks: Iterable[bytes], start: int, total: int | None, bar: bool) -> None:
    with (
        open(part, "r+b" if start else "wb") as file,
        tqdm(
            total=total,
            initial=start,
            desc=part.name.removesuffix(".part"),
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            mininterval=1.0,
            dynamic_ncols=True,
            disable=not bar,
        ) as progress,
    ):
        file.seek(start)
        file.truncate()
        for chunk in chain([first], chunks):
            file.write(chunk)
            progress.update(len(chunk))
