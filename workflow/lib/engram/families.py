"""Methods that share optimised values: which family a method reads, and what of its block in params enters them.

`values` are the contents of the parameter file. A block methods.<method>.<model> names another method as its `family`, or
has the hyperparameters of the values itself (keys of objective.Settings) and is a family of its own.
"""

from engram.objective import KEYS


def family_of(values: dict, method: str, model: str) -> str:
    """The method whose optimised values `method` reads."""
    return values["methods"][method].get(model, {}).get("family", method)


def targets_of(values: dict, family: str, model: str) -> dict:
    """The hyperparameters of a family's values. `layer` is the last of `layers` for a method that edits several."""
    block = values["methods"][family].get(model, {})
    last = {"layer": block["layers"][-1]} if block.get("layers") else {}
    return last | {key: block[key] for key in KEYS if key in block}


def method_of(values: dict, method: str, model: str) -> dict:
    """All settings of a method: its name, the hyperparameters of the values it reads, its own block."""
    block = values["methods"][method].get(model, {})
    own = {key: value for key, value in block.items() if key != "family"}
    return {"name": method} | targets_of(values, family_of(values, method, model), model) | own


def problems(values: dict, similar):
    """(key, what was found, what would be right) for every family and family of contexts that cannot be used."""
    for method, blocks in values["methods"].items():
        for model, block in blocks.items():
            here = ("methods", method, model)
            family = block.get("family", method)
            if family not in values["methods"]:
                yield (*here, "family"), f"an unknown method, `{family}`", similar(family, values["methods"])
            elif family != method:
                yield from _borrowed(values, here, block, family, model)
            contexts = block.get("contexts")
            if contexts is not None and contexts not in values["prefixes"]["families"]:
                yield ((*here, "contexts"), f"an unknown family of contexts, `{contexts}`",
                       similar(contexts, values["prefixes"]["families"]))


def _borrowed(values: dict, here: tuple, block: dict, family: str, model: str):
    if model not in values["methods"][family]:
        yield (*here, "family"), f"`{family}`, which has no values for {model}", f"a block methods.{family}.{model}"
        return
    if "family" in values["methods"][family][model]:
        yield (*here, "family"), f"`{family}`, which has a family of its own", "the method that has the values"
    shared = targets_of(values, family, model)
    for key in KEYS:
        if key in block and block[key] != shared.get(key):
            yield (*here, key), f"{block[key]}, with the values of `{family}`", f"as there, {shared.get(key, 'not set')}"


def longest(values: dict) -> int:
    """Tokens of the longest context text."""
    return max(length for family in values["prefixes"]["families"].values() for length, _ in family["lengths"])
