"""The keys of a method's block in params.yaml: the fields of the dataclass `Settings` of its file, read and not imported.

Importing a method would import torch, and a wrong params.yaml has to be refused in less time than that takes.
"""

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

LIBRARY = Path(__file__).parent
_TYPES = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,), "None": (type(None),), "tuple": (list,)}
_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word", "None": "null", "tuple": "a list"}


class Key(NamedTuple):
    """One hyperparameter: names of the types it may have, and whether it must be given."""

    types: tuple[str, ...]
    required: bool

    def fits(self, value) -> bool:
        return any(isinstance(value, _TYPES[name]) and (name == "bool") == isinstance(value, bool) for name in self.types)

    @property
    def right(self) -> str:
        return " or ".join(_WORDS[name] for name in self.types)


def file_of(values: dict, method: str) -> str:
    """The file of a method, as a slug: another one's if its block says `method: <file>`."""
    return values["methods"].get(method, {}).get("method", method)


def path_of(file: str) -> Path:
    return LIBRARY / "methods" / f"{file.replace('-', '_')}.py"


@cache
def constant(file: str, name: str) -> tuple[str, ...]:
    """The tuple of words `name` (NEEDS, REGIMES) at the top of a method's file. ValueError without one."""
    for node in ast.parse(path_of(file).read_text(encoding="utf-8")).body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if any(getattr(target, "id", None) == name for target in targets):
            return tuple(ast.literal_eval(node.value))
    raise ValueError(f"{path_of(file)}: no {name}, a tuple of words")


@cache
def keys_of(file: str) -> dict[str, Key]:
    """The hyperparameters of a method's file: name -> Key."""
    return _fields(path_of(file), "Settings")


def problems(values: dict, method: str, model: str, similar):
    """(key, what was found, what would be right) for a block methods.<method>.<model>.

    Keys may come from the method whose optimised values it reads (`family`), so none is missing that stands there.
    """
    block, keys = values["methods"][method][model], keys_of(file_of(values, method))
    here = ("methods", method, model)
    for name, value in block.items():
        if name == "family":
            continue
        if name not in keys:
            yield (*here, name), "an unknown key", similar(name, [*keys, "family"])
        elif not keys[name].fits(value):
            yield (*here, name), repr(value), keys[name].right
    lender = values["methods"].get(block.get("family"), {}).get(model, {})
    for name, key in keys.items():
        if key.required and name not in block and name not in lender and not (name == "layer" and block.get("layers")):
            yield here, f"no `{name}`", f"`{name}`, {key.right}"


def _fields(path: Path, name: str) -> dict[str, Key]:
    """Fields of the dataclass `name` of a module, with those of its bases; a class may be imported from the library."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            found = {}
            for base in node.bases:
                found |= _fields(*_origin(path, body, ast.unparse(base)))
            return found | {field.target.id: Key(_types(field.annotation), field.value is None and field.target.id not in found)
                            for field in node.body if isinstance(field, ast.AnnAssign)}
    return _fields(*_origin(path, body, name))


def _origin(path: Path, body: list, dotted: str) -> tuple[Path, str]:
    """Where a class that a module names (`Settings`, `spread.Settings`) is defined."""
    module, _, name = dotted.rpartition(".")
    for node in body:
        if module == "" and isinstance(node, ast.ClassDef) and node.name == name:
            return path, name
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "engram":
            for alias in node.names:
                if (alias.asname or alias.name) == (module or name):
                    parts = [*node.module.split(".")[1:], *([alias.name] if module else [])]
                    return LIBRARY.joinpath(*parts).with_suffix(".py"), name if module else alias.name
    raise ValueError(f"{path}: no class {dotted}")


def _types(annotation) -> tuple[str, ...]:
    """`float | None` -> ("float", "None"); `tuple[int, ...]` -> ("tuple",)."""
    return tuple(part.split("[")[0].strip() for part in ast.unparse(annotation).split("|"))
