"""What the editing methods say about themselves: their needs, their regimes, and the fields of their `Settings`.

A method is one file, engram/methods/<name>.py, found by its name as a plug-in is. What its head imports is free of
torch, so that a wrong parameter file is refused at once; the functions that compute import what they compute with.
`values` are the contents of the parameter file: methods.<slug> holds blocks of hyperparameters by model, and besides
`method`, the file of another method whose variant it is, and `records`.
"""

from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from pydantic.fields import FieldInfo

from engram.settings.blocks import fields

FOLDER = Path(__file__).parents[1] / "methods"
FILE = "method"
NO_MODEL = (FILE, "records")  # keys of methods.<slug> that are no models


def files() -> list[str]:
    """The methods that have a file, as slugs."""
    return sorted(path.stem.replace("_", "-") for path in FOLDER.glob("[!_]*.py"))


@cache
def load(file: str) -> ModuleType:
    """The module of a method's file, given as a slug: `r-rome` is engram.methods.r_rome. Imports no torch."""
    return import_module(f"engram.methods.{file.replace('-', '_')}")


def keys_of(file: str) -> dict[str, FieldInfo]:
    """The hyperparameters of a method's file: the fields of its `Settings`."""
    return fields(load(file).Settings)


def file_of(values: dict, slug: str) -> str:
    """The file of a method, as a slug: its own, or that of the method whose variant it is."""
    return values["methods"].get(slug, {}).get(FILE, slug)


def blocks_of(values: dict, slug: str) -> dict[str, dict]:
    """The hyperparameters of a method, by model."""
    return {model: block for model, block in values["methods"][slug].items() if model not in NO_MODEL}


def needs(values: dict, slug: str) -> tuple[str, ...]:
    """The stages whose artifacts a method reads, of prefixes, covariance, targets and hypernet."""
    return load(file_of(values, slug)).NEEDS


def regimes(values: dict, slug: str) -> tuple[str, ...]:
    """What a method can do, of single, mass and sequential."""
    return load(file_of(values, slug)).REGIMES


def last_layer(block: dict) -> int | None:
    """The last of the `layers` of a method that edits several, in which its value is optimised; None without them."""
    layers = block.get("layers")
    return layers[-1] if layers and isinstance(layers, list | tuple) else None
