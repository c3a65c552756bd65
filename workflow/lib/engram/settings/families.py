"""Methods that share optimised values: which family a method reads, and what of its block in params enters them.

`values` are the contents of the parameter file. A block methods.<method>.<model> names another method as its `family`,
or has the hyperparameters of the values itself (keys of objective.Settings) and is a family of its own.
"""

from collections.abc import Iterator

from engram.settings import methods
from engram.settings.checking import Problem, similar
from engram.settings.objective import KEYS


def family_of(values: dict, method: str, model: str) -> str:
    """The method whose optimised values `method` reads."""
    return _block(values, method, model).get("family", method)


def targets_of(values: dict, family: str, model: str) -> dict:
    """The hyperparameters of a family's values. `layer` is the last of `layers` for a method that edits several."""
    block = _block(values, family, model)
    last = methods.last_layer(block)
    return ({} if last is None else {"layer": last}) | {key: block[key] for key in KEYS if key in block}


def named(values: dict, method: str) -> dict:
    """How a job's settings name a method: its slug, and `method`, its file, where that has another name."""
    file = methods.file_of(values, method)
    return {"name": method} | ({methods.FILE: file} if file != method else {})


def values_of(values: dict, family: str, model: str) -> dict:
    """All settings of a family's values: its name and their hyperparameters."""
    return named(values, family) | targets_of(values, family, model)


def method_of(values: dict, method: str, model: str) -> dict:
    """All settings of a method: its name, the hyperparameters of the values it reads, its own block."""
    own = {key: value for key, value in _block(values, method, model).items() if key != "family"}
    return named(values, method) | lent_to(values, method, model) | own


def lent_to(values: dict, method: str, model: str) -> dict:
    """The hyperparameters of the values that a method reads; of another's, with the defaults of that one."""
    family = family_of(values, method, model)
    if family == method:
        return targets_of(values, family, model)
    keys = methods.keys_of(methods.file_of(values, family))
    defaults = {key: keys[key].default for key in KEYS if key in keys and not keys[key].is_required()}
    return defaults | targets_of(values, family, model)


def problems(values: dict) -> Iterator[Problem]:
    """A problem for every family and family of contexts that cannot be used."""
    for method in values["methods"]:
        for model, block in methods.blocks_of(values, method).items():
            here = ("methods", method, model)
            family = block.get("family", method)
            if family not in values["methods"]:
                yield Problem((*here, "family"), f"an unknown method, `{family}`", similar(family, values["methods"]))
            elif family != method:
                yield from _borrowed(values, here, block, family, model)
            contexts = block.get("contexts")
            if contexts is not None and contexts not in values["prefixes"]["families"]:
                yield Problem(
                    (*here, "contexts"),
                    f"an unknown family of contexts, `{contexts}`",
                    similar(contexts, values["prefixes"]["families"]),
                )


def _borrowed(values: dict, here: tuple, block: dict, family: str, model: str) -> Iterator[Problem]:
    lender = _block(values, family, model)
    if not lender:
        yield Problem(
            (*here, "family"), f"`{family}`, which has no values for {model}", f"a block methods.{family}.{model}"
        )
        return
    if "family" in lender:
        yield Problem((*here, "family"), f"`{family}`, which has a family of its own", "the method that has the values")
    if not {"targets", "hypernet"}.intersection(*(methods.needs(values, name) for name in (here[1], family))):
        yield Problem(
            (*here, "family"), f"`{family}`, with which `{here[1]}` has no artifacts to share", "no `family` here"
        )
        return
    shared = lent_to(values, here[1], model)
    last = methods.last_layer(block)
    own = ({} if last is None else {"layers": last}) | {key: block[key] for key in KEYS if key in block}
    for key, value in own.items():
        right = shared.get("layer" if key == "layers" else key, "not set")
        if value != right:
            yield Problem((*here, key), f"{value}, with the values of `{family}`", f"as there, {right}")


def longest(values: dict) -> int:
    """Tokens of the longest context text."""
    return max(length for family in values["prefixes"]["families"].values() for length, _ in family["lengths"])


def _block(values: dict, method: str, model: str) -> dict:
    return methods.blocks_of(values, method).get(model, {})
