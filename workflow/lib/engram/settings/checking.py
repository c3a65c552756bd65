"""Values of params.yaml checked; what is wrong is said by file and line, key, what was found, what would be right."""

import difflib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import ValidationError

from engram.settings.blocks import adapter, fields

Key = tuple[str | int, ...]  # the way to a value: ("run", "models", 0)
WORDS = {
    "int_type": "a whole number",
    "number": "a number",
    "string_type": "a word",
    "bool_type": "true or false",
    "tuple_type": "a list, [a, b]",
    "dict_type": "a block of keys",
    "dataclass_type": "a block of keys",
    "model_type": "a block of keys",
    "none_required": "null",
    "once": "every entry once",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
    "string_too_short": "a word",
    "string_pattern_mismatch": "a word of the form {pattern}",
}
UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")


class Problem(NamedTuple):
    """A key of params.yaml, what was found there, and what would be right."""

    key: Key
    found: str
    right: str

    def text(self, path: Path, lines: dict[Key, int]) -> str:
        """The message; `lines`: the line of every key of the file at `path`."""
        known = next(self.key[:n] for n in range(len(self.key), -1, -1) if self.key[:n] in lines)
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.key).lstrip(".")
        return f"{path}, line {lines[known]}: {name or '(whole file)'}\n  found: {self.found}\n  right: {self.right}"


def similar(name: object, known: Iterable[str]) -> str:
    """`did you mean x? known are …` for a name that is not among `known`."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, 1, 0.5)
    return (f"did you mean `{near[0]}`? " if near else "") + f"known are {', '.join(known)}"


def shown(value: object) -> str:
    """A value as it is shown in a message, cut at 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def problems(kind: Any, values: Any, here: Key = ()) -> list[Problem]:
    """What is wrong with `values`, which stand at `here`, for a block of the type `kind`; the deepest places alone."""
    try:
        adapter(kind).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        errors = error.errors(include_url=False)
        by_key: dict[Key, list[dict]] = {}
        names = [one for one in errors if one["loc"][-1:] == ("[key]",)]
        for one in errors:
            if one not in names:
                by_key.setdefault(_key(values, one), []).append(dict(one))
        deepest = [key for key in by_key if not any(other[: len(key)] == key and other != key for other in by_key)]
        found = [_problem(kind, values, here, key, by_key[key]) for key in deepest]
        found += [
            Problem((*here, *one["loc"][:-2]), shown(one["input"]), _right(dict(one), one["input"])) for one in names
        ]
        return sorted(found, key=lambda problem: list(map(str, problem.key)))
    return []


def _key(values: Any, error: Any) -> Key:
    """The place of an error in the file: without the names that pydantic gives to alternatives."""
    key: list[str | int] = []
    for index, step in enumerate(error["loc"]):
        last = index == len(error["loc"]) - 1
        if (isinstance(values, dict) and step in values) or (isinstance(values, list) and isinstance(step, int)):
            key.append(step)
            values = values[step]
        elif last and error["type"] in ("missing", *UNKNOWN):
            key.append(step)
    if error["type"].startswith("union_tag"):
        key.append(error["ctx"]["discriminator"].strip("'"))
    return tuple(key)


def _problem(kind: Any, values: Any, here: Key, key: Key, errors: list[dict]) -> Problem:
    place, first = (*here, *key), errors[0]
    about = _described(kind, values, key)
    if first["type"] in ("missing", "union_tag_not_found"):
        return Problem(place, "nothing, the key is missing", about)
    value = values
    for step in key:
        value = value[step]
    if first["type"] in UNKNOWN:
        known = _keys(_inside(kind, values, key[:-1]), values_at(values, key[:-1]))
        return Problem(place, f"an unknown key, `{key[-1]}`", similar(key[-1], known) if known else "no keys here")
    rights = list(dict.fromkeys(_right(one, value) for one in errors))
    hint = " (YAML reads 1e-3 as a word: write 0.001)" if isinstance(value, str) and "a number" in rights else ""
    return Problem(place, shown(value), " or ".join(rights) + hint + (f"; {about}" if about else ""))


def _right(error: dict, value: Any) -> str:
    if error["type"] in ("literal_error", "union_tag_invalid"):
        given = error["ctx"].get("expected") or error["ctx"]["expected_tags"]
        words = [word.strip("' ") for word in given.replace(" or ", ", ").split(", ")]
        return similar(value, words) if isinstance(value, str) else f"one of {', '.join(words)}"
    return WORDS[error["type"]].format(**error.get("ctx", {})) if error["type"] in WORDS else error["msg"]


def _inside(kind: Any, values: Any, key: Key) -> Any:
    """The type of the value at `key` below a value of the type `kind`."""
    for step in key:
        kind = _entry(kind, values, step)
        values = values_at(values, (step,))
    return kind


def _described(kind: Any, values: Any, key: Key) -> str:
    """The description of the innermost key on the way `key` that has one."""
    text = ""
    for index, step in enumerate(key):
        inside = _inside(kind, values, key[:index])
        block = _block(inside, values_at(values, key[:index]))
        info = _fields(block).get(str(step)) if block else None
        text = (info.description if info else None) or text
    return text


def described_keys(kind: Any, values: Any, key: Key) -> dict[str, str]:
    """The keys that the block at `key` may have, each with its description."""
    return {name: info.description for name, info in _fields(_block(_inside(kind, values, key), None)).items()}


def values_at(values: Any, key: Key) -> Any:
    """The value at `key`; None where there is none."""
    for step in key:
        try:
            values = values[step]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def _alternatives(kind: Any) -> Iterator[Any]:
    if get_origin(kind) is Annotated:
        yield from _alternatives(get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        for one in get_args(kind):
            yield from _alternatives(one)
    else:
        yield kind


def _block(kind: Any, values: Any) -> Any:
    """The block among the alternatives of a type; of several, that of the `kind` that the values name."""
    blocks = [one for one in _alternatives(kind) if isinstance(one, type) and hasattr(one, "__pydantic_fields__")]
    named = [one for one in blocks if isinstance(values, dict) and one.__name__.lower() == values.get("kind")]
    return next(iter(named or blocks), None)


def _fields(block: Any) -> dict[str, Any]:
    """Key -> field, of a block."""
    return {info.alias or name: info for name, info in fields(block).items()}


def _keys(kind: Any, values: Any) -> list[str]:
    block = _block(kind, values)
    return list(_fields(block)) if block else []


def _entry(kind: Any, values: Any, step: str | int) -> Any:
    block = _block(kind, values)
    if block and step in _fields(block):
        return _fields(block)[step].annotation
    for one in _alternatives(kind):
        if get_origin(one) is dict and isinstance(step, str):
            return get_args(one)[1]
        if get_origin(one) is tuple and isinstance(step, int):
            return get_args(one)[0]
    return Any
