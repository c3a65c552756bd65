"""Sweeps: methods that differ from another in some hyperparameters. Pure functions on the contents of params.yaml.

`sweep: {method: ft, over: {layer: [0, 1], epsilon: [null, 0.001]}}` of an item of `paper` makes one method per point of
the grid, an ordinary block of `methods`, under a slug that nobody has to read: `ft-layer-0-epsilon-none`.
"""

import itertools
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from engram.settings import families, methods
from engram.settings.checking import Key, Problem, similar


def grid(spec: dict) -> list[tuple[str, dict]]:
    """The slug and the hyperparameters of every point that an entry of `paper` sweeps over."""
    if "sweep" not in spec:
        return []
    over = spec["sweep"]["over"]
    grid_points = [dict(zip(over, point)) for point in itertools.product(*over.values())]
    return [(slug(spec["sweep"]["method"], point), point) for point in grid_points]


def points(spec: dict) -> dict[str, dict]:
    """The methods that an entry of `paper` sweeps over: slug -> the hyperparameters that make it."""
    return dict(grid(spec))


def slug(method: str, point: dict) -> str:
    """Name of a point: keys and values joined by dashes, a list's entries as well; 0.5 is 0p5, null none, -1 m1."""
    return "-".join([method, *(part for key, value in point.items() for part in (key.replace("_", "-"), _word(value)))])


def _word(value: Any) -> str:
    if isinstance(value, list):
        return "-".join(map(_word, value))
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f").replace(".", "p").replace("-", "m")
    text = "none" if value is None else str(value).lower()
    return (
        text.replace("-", "m")
        if isinstance(value, int)
        else "".join(c if c.isalnum() else "-" for c in text).strip("-")
    )


def blocks(values: dict) -> dict[str, dict]:
    """The blocks of `methods` of all points of all items: the swept method's file, its values for each model, the
    point's.
    """
    found: dict[str, dict] = {}
    lenders: dict[tuple, str] = {}
    for spec in values["paper"].values():
        for name, point in points(spec).items():
            if spec["sweep"]["method"] in values["methods"] and name not in found:
                found[name] = _block(values, spec["sweep"]["method"], name, point, lenders)
    return found


def expanded(values: dict) -> dict:
    """The parameter file with every point of a sweep among its methods."""
    return values | {"methods": values["methods"] | blocks(values)}


def swept(values: dict) -> dict[str, str]:
    """The method that each point of a sweep is a point of: what is trained for it serves them all."""
    return {name: spec["sweep"]["method"] for spec in values["paper"].values() for name in points(spec)}


def keys_of(values: dict, method: str, model: str) -> list[str]:
    """The dotted keys of params.yaml that the settings of a method, or of a point of a sweep, follow from: its block
    for the model, what file it has, those of the method whose values it reads. `values`: sweeps expanded.
    """
    family, swept_over = families.family_of(values, method, model), swept(values).get(method)
    if swept_over is None:
        block = values["methods"][method]
        keys = [f"methods.{method}.{key}" for key in (methods.FILE, model) if key in block]
    else:
        items = [f"paper.{item}" for item, spec in values["paper"].items() if method in points(spec)]
        keys = [*items, *keys_of(values, swept_over, model)]
    return list(dict.fromkeys([*keys, *(keys_of(values, family, model) if family != method else [])]))


def _block(values: dict, method: str, name: str, point: dict, lenders: dict) -> dict:
    models = methods.blocks_of(values, method)
    kept = {key: value for key, value in values["methods"][method].items() if key not in models}
    return (
        kept
        | {methods.FILE: methods.file_of(values, method)}
        | {model: _values(values, method, model, name, point, lenders) for model in models}
    )


def _values(values: dict, method: str, model: str, name: str, point: dict, lenders: dict) -> dict:
    """The hyperparameters of a point. Optimised values are found once: by the family of its method, unless the point
    changes what they are; then by the first point with the same ones, of which `lenders` keeps the names.
    """
    own = {key: value for key, value in methods.blocks_of(values, method)[model].items() if key != "family"}
    lent = families.lent_to(values, method, model)
    whole = lent | own | point
    if "layers" in whole and "layer" not in point:
        whole.pop("layer", None)  # it is the last of the layers
    if "targets" not in methods.needs(values, method):
        return whole
    wanted = families.targets_of({"methods": {method: {model: whole}}}, method, model)
    usual = families.family_of(values, method, model)
    family = usual if wanted == lent else lenders.setdefault((method, model, repr(sorted(wanted.items()))), name)
    return (
        whole
        if family == name
        else {key: value for key, value in whole.items() if key not in families.KEYS} | {"family": family}
    )


def problems(values: dict) -> Iterator[Problem]:
    """A problem for every sweep that cannot be made.

    The values of its points are checked as those of other methods, and `place` says where they stand.
    """
    made: dict[str, tuple] = {}
    for item, spec in values["paper"].items():
        method = spec.get("sweep", {}).get("method")
        if method not in values["methods"]:
            continue  # no sweep, or said of the item
        here, known = ("paper", item, "sweep", "over"), methods.keys_of(methods.file_of(values, method))
        for key in spec["sweep"]["over"]:
            if key not in known:
                yield Problem(
                    (*here, key), f"an unknown key of `{method}`, `{key}`", similar(key, known) if known else "no sweep"
                )
        for name, point in grid(spec):
            other = made.setdefault(name, (item, method, point))
            if name in values["methods"]:
                yield Problem(
                    here, f"a point named `{name}`, as a method is", f"other values, or methods.{name} renamed"
                )
            elif other[1:] != (method, point):
                yield Problem(
                    here, f"a second point named `{name}`, as in {other[0]}", "values that make different names"
                )


def place(values: dict, key: Key) -> Key | None:
    """Where a point's value stands in the file; `key` is where it would stand were the point written under `methods`.

    None for what is no point of a sweep, or not of an active model.
    """
    if key[0] != "methods" or len(key) < 3:
        return None
    name, model, *rest = key[1:]
    if model not in values["run"]["models"]:
        return None
    for item, spec in values["paper"].items():
        if name in points(spec):
            here, over = ("paper", item, "sweep", "over"), spec["sweep"]["over"]
            return (
                (*here, rest[0], over[rest[0]].index(points(spec)[name][rest[0]])) if rest and rest[0] in over else here
            )
    return None
