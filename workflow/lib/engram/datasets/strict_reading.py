"""Strict reading of original files: every problem of a file is collected and said with its record and field, then the
run stops.

A file that is no data at all (a Git-LFS pointer, a web page, a truncated download) is named as what it is.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHOWN = 20  # problems that are printed; all are counted


def recognised(head: bytes) -> str | None:
    """What a file is that was meant to be data, from its first bytes; None if nothing is wrong with them."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if not head:
        return "the file is empty"
    if start.startswith(b"version https://git-lfs"):
        return "this is a Git-LFS pointer, not the data; fetch the file itself (`git lfs pull`, or the original URL)"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<!--")):
        return "this is a web page (HTML) and not the data: a login, error or redirection page of the server"
    return None


class Problems:
    """The problems of one file, collected until `check` raises them together."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: list[str] = []

    def add(self, place: str, text: str) -> None:
        """Note what is wrong at `place`, a record or line; empty for the file as a whole."""
        self.lines.append(f"{self.file}: {place}: {text}" if place else f"{self.file}: {text}")

    def check(self) -> None:
        """ValueError with the first problems and the number of all, if there are any."""
        if self.lines:
            more = len(self.lines) - SHOWN
            lines = self.lines[:SHOWN] + ([f"{self.file}: and {more:,} more problems"] if more > 0 else [])
            raise ValueError("\n".join(lines))

    def unique(self, field: str, rows: list[dict], name: str | None = None) -> None:
        """Add every value of `field` that stands in more than one row; `name`: what the file calls it."""
        seen = set()
        for row in rows:
            value = row[field]
            if value in seen:
                self.add("", f"{name or field} {value!r} occurs twice")
            seen.add(value)


class Record:
    """One json record, at `place` in its file. A wrong field is added to the file's problems, and read as None."""

    def __init__(self, problems: Problems, place: str, values: object) -> None:
        self.problems, self.place, self.right = problems, place, True
        self.values: dict[str, Any] = values if isinstance(values, dict) else {}
        if not isinstance(values, dict):
            self.wrong(f"expected an object, found {type(values).__name__}")

    def wrong(self, text: str) -> None:
        """Note that the record is wrong, and how."""
        self.right = False
        self.problems.add(self.place, text)

    def get(self, name: str, kind: type) -> Any:
        """The field `name`, of type `kind`; a str must be text and not blank, a list must hold such strings, an int has
        64 bits. None if it is wrong.
        """
        if name not in self.values:
            if self.values or self.right:
                self.wrong(f"field {name!r} is missing; found {sorted(self.values)}")
            return None
        value = self.values[name]
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
        right = whole if kind is int else isinstance(value, kind)
        if right and kind is str:
            right = is_text(value)
        if right and kind is list:
            right = bool(value) and all(map(is_text, value))
        if not right:
            self.wrong(f"field {name!r} should be a non-empty {kind.__name__}, found {_shown(value)}")
            return None
        return value

    def inner(self, name: str) -> "Record":
        """The object in the field `name`, as a record; without fields, and nothing more is said of it, if it is
        wrong.
        """
        values = self.get(name, dict)
        record = Record(self.problems, f"{self.place}, {name}", values or {})
        record.right = values is not None
        return record

    def check(self, right: bool, text: str) -> None:
        """Note `text` as a problem of the record unless it is `right`."""
        if not right:
            self.wrong(text)


def is_text(value: object) -> bool:
    """Whether a value is a string that is not blank and that UTF-8 can write: json has escapes for halves of
    characters.
    """
    return (
        isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= letter <= "\udfff" for letter in value)
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:119] + "…"


def load(file: Path) -> Any:
    """The content of a json file. ValueError says what the file is instead."""
    with open(file, "rb") as stream:
        wrong = recognised(stream.read(512))
    if wrong:
        raise ValueError(f"{file}: {wrong}")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 text, so not json ({error.reason} at byte {error.start:,})") from error
    except json.JSONDecodeError as error:
        rest = len(error.doc) - error.pos
        cut = (
            "the text ends there: the file is truncated"
            if rest < 2 or error.msg.startswith("Unterminated")
            else error.msg
        )
        raise ValueError(
            f"{file}: not valid json at line {error.lineno:,}, character {error.colno:,}: {cut}"
        ) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets in brackets without end
        raise ValueError(f"{file}: not json that can be read: {error}") from error


def load_list(file: Path) -> list:
    """A json file that holds a list of records. ValueError says what it is instead."""
    values = load(file)
    if not isinstance(values, list) or not values:
        raise ValueError(
            f"{file}: expected a non-empty json list of records, found "
            f"{f'an object with the keys {sorted(values)[:8]}' if isinstance(values, dict) else _shown(values)}"
        )
    return values


def lines(file: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of the lines of a text file; only a newline ends a line, as in jsonl."""
    with open(file, "rb") as stream:
        wrong = recognised(stream.read(512))
    if wrong:
        raise ValueError(f"{file}: {wrong}")
    with open(file, "rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{file}: line {number}: not UTF-8 text ({error.reason} at byte {error.start:,})"
                ) from error
            if text.strip():
                yield number, text
