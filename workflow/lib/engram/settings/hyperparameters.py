"""What a method's file says about itself, read and not imported: its needs, its regimes, the fields of its `Settings`.

Importing a method would import torch, and a wrong parameter file has to be refused in less time than that takes.
`values` are the contents of the parameter file: methods.<slug> holds blocks of hyperparameters by model, and beside
them `method`, the file of another method whose variant it is, and `records`.
"""

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

from engram.settings.objective import KEYS

LIBRARY = Path(__file__).parents[1]
FILE = "method"
NO_MODEL = (FILE, "records")  # keys of methods.<slug> that are no models
_TYPES = {"int": int, "float": (int, float), "bool": bool, "str": str, "None": type(None), "dict": dict}
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a word",
    "None": "null",
    "dict": "a block of keys",
}
_REQUIRED = object()


class Key(NamedTuple):
    """One hyperparameter: its types, as they are written, and its default."""

    types: tuple[str, ...]
    default: object = _REQUIRED

    @property
    def required(self) -> bool:
        return self.default is _REQUIRED

    def fits(self, value) -> bool:
        return any(_fits(kind, value) for kind in self.types)

    def right(self, value=None) -> str:
        """What would fit instead of `value`, in words."""
        hint = " (YAML reads 1e-3 as a word: write 0.001)" if isinstance(value, str) and "float" in self.types else ""
        return " or ".join(map(_said, self.types)) + hint


def files() -> list[str]:
    """The methods that have a file, as slugs."""
    return sorted(path.stem.replace("_", "-") for path in (LIBRARY / "methods").glob("[!_]*.py"))


def file_of(values: dict, slug: str) -> str:
    """The file of a method, as a slug: its own, or that of the method whose variant it is."""
    return values["methods"].get(slug, {}).get(FILE, slug)


def blocks_of(values: dict, slug: str) -> dict[str, dict]:
    """The hyperparameters of a method, by model."""
    return {model: block for model, block in values["methods"][slug].items() if model not in NO_MODEL}


def needs(values: dict, slug: str) -> tuple[str, ...]:
    """The stages whose artifacts a method reads: `NEEDS` of its file."""
    return constant(file_of(values, slug), "NEEDS")


def regimes(values: dict, slug: str) -> tuple[str, ...]:
    """What a method can do, of single, mass and sequential: `REGIMES` of its file."""
    return constant(file_of(values, slug), "REGIMES")


@cache
def constant(file: str, name: str) -> tuple[str, ...]:
    """The tuple of words `name` at the top of a method's file. ValueError without one."""
    path = _path(file)
    for node in _body(path):
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if any(getattr(target, "id", None) == name for target in targets):
            return tuple(ast.literal_eval(node.value))
    raise ValueError(f"{path}: no {name}, a tuple of words")


@cache
def keys_of(file: str) -> dict[str, Key]:
    """The hyperparameters of a method's file. ValueError where they cannot be read without running it."""
    return _fields(_path(file), "Settings")


def problems(values: dict, slug: str, model: str, similar):
    """(key, what was found, what would be right) for each hyperparameter in methods.<slug>.<model> that its file or the
    model cannot take.

    Those of optimised values need not be here where they are another method's, its `family`; `layer` is the last of
    `layers`.
    """
    found = [*_wrong(values, slug, model, similar)]
    yield from found or _edited(
        values["models"][model], ("methods", slug, model), values["methods"][slug][model], needs(values, slug)
    )


def _wrong(values: dict, slug: str, model: str, similar):
    block, file, here = values["methods"][slug][model], file_of(values, slug), ("methods", slug, model)
    known = keys_of(file)
    for name, value in block.items():
        if name == "family":
            continue  # families.problems
        if name not in known:
            right = similar(name, [*known, "family"]) if known else "no keys here"
            yield (*here, name), f"an unknown key, `{name}`", f"{right} (methods/{_path(file).name})"
        elif not known[name].fits(value):
            yield (*here, name), repr(value), known[name].right(value)
    lender = values["methods"].get(block.get("family"), {}).get(model, {})
    given = {
        *block,
        *(key for key in KEYS if key in lender),
        *(["layer"] if block.get("layers") or lender.get("layers") else []),
    }
    for name, key in known.items():
        if key.required and name not in given:
            yield here, f"no `{name}`", f"`{name}`, {key.right()} (methods/{_path(file).name})"


def _edited(model: dict, here: tuple, block: dict, stages: tuple[str, ...]):
    """Layers in a block that are no list of layers, or that the model or its covariance does not have."""
    layers = block.get("layers", [])
    if layers != sorted(set(layers)):
        yield (*here, "layers"), str(layers), "a rising list; the value is optimised in its last layer"
    places = {(*here, key): block[key] for key in ("layer", "loss_layer") if block.get(key) is not None}
    places |= {(*here, "layers", index): layer for index, layer in enumerate(layers)}
    if layers and block.get("layer", layers[-1]) != layers[-1]:
        yield (*here, "layer"), str(block["layer"]), f"the last of `layers`, {layers[-1]}, where the value is optimised"
    for place, layer in places.items():
        if "train" in model and layer >= model["train"]["layers"]:
            yield place, str(layer), f"a layer of the model, 0 to {model['train']['layers'] - 1}"
        elif "covariance" in stages and "loss_layer" not in place and layer not in model["covariance_layers"]:
            yield place, str(layer), f"one of models.{here[2]}.covariance_layers, {model['covariance_layers']}"


def _path(file: str) -> Path:
    return LIBRARY / "methods" / f"{file.replace('-', '_')}.py"


@cache
def _body(path: Path) -> list:
    return ast.parse(path.read_text(encoding="utf-8")).body


def _fields(path: Path, name: str) -> dict[str, Key]:
    """Fields of the dataclass `name` of a module, with those of its bases; it may be imported from elsewhere in the
    library.
    """
    for node in _body(path):
        if isinstance(node, ast.ClassDef) and node.name == name:
            found = {}
            for base in reversed(node.bases):
                found |= _fields(*_origin(path, ast.unparse(base)))
            for field in (field for field in node.body if isinstance(field, ast.AnnAssign)):
                found[field.target.id] = _key(path, field, found.get(field.target.id, Key(())))
            return found
    return _fields(*_origin(path, name))


def _origin(path: Path, dotted: str) -> tuple[Path, str]:
    """The module and the name there of a class that `path` calls `Settings`, `spread.Settings`, …"""
    module, _, name = dotted.rpartition(".")
    for node in _body(path):
        if module == "" and isinstance(node, ast.ClassDef) and node.name == name:
            return path, name
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "engram":
            for alias in node.names:
                if (alias.asname or alias.name) == (module or name):
                    parts = [*node.module.split(".")[1:], *([alias.name] if module else [])]
                    return LIBRARY.joinpath(*parts).with_suffix(".py"), name if module else alias.name
    raise ValueError(f"{path}: no class {dotted}, defined there or imported by `from engram…`")


def _key(path: Path, field: ast.AnnAssign, inherited: Key) -> Key:
    """A field as a Key; without a default of its own it keeps that of the base class, as a dataclass does."""
    types = tuple(part.strip() for part in ast.unparse(field.annotation).split("|"))
    unknown = [kind for kind in types for word in _inside(kind) or [kind] if word not in (*_TYPES, "...")]
    if unknown:
        raise ValueError(
            f"{path}: field {field.target.id} of type {unknown[0]}; known are {', '.join(_TYPES)} and tuple[…]"
        )
    try:
        return Key(types, inherited.default if field.value is None else ast.literal_eval(field.value))
    except ValueError as error:
        raise ValueError(
            f"{path}: the default of field {field.target.id} must be written out, found {ast.unparse(field.value)}"
        ) from error


def _inside(kind: str) -> list[str]:
    """The types of the entries of a tuple: ["int", "..."] of "tuple[int, ...]"; none of another type."""
    return (
        [word.strip() for word in kind.removeprefix("tuple[").rstrip("]").split(",")]
        if kind.startswith("tuple[")
        else []
    )


def _fits(kind: str, value) -> bool:
    inside = _inside(kind)
    if not inside:
        return isinstance(value, _TYPES[kind]) and (kind == "bool") == isinstance(value, bool)
    if not isinstance(value, list) or (inside[-1] != "..." and len(value) != len(inside)):
        return False
    return all(
        _fits(word, entry) for word, entry in zip(inside if inside[-1] != "..." else inside[:1] * len(value), value)
    )


def _said(kind: str) -> str:
    inside = _inside(kind)
    if not inside:
        return _WORDS[kind]
    length = "any length" if inside[-1] == "..." else f"length {len(inside)}"
    return f"a list of {length}, every entry {_WORDS[inside[0]]}"
