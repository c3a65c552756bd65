"""The items of the papers as one model sees them. Pure functions on the contents of the parameter file.

A line under `paper` holds for every active model, or those it lists as `models`; `for: {mini: {records: 30}}` changes
keys of it for one model.
"""

OWN = ("models", "for")


def seen(values: dict, model: str) -> dict:
    """The parameter file as `model` sees it: itself the only active model, its items with the keys that they have for
    it.
    """
    paper = {
        item: {key: value for key, value in (spec | spec.get("for", {}).get(model, {})).items() if key not in OWN}
        for item, spec in values["paper"].items()
        if applies(spec, model)
    }
    return values | {"run": values["run"] | {"models": [model]}, "paper": paper}


def applies(spec: dict, model: str) -> bool:
    """Whether an item is made for a model."""
    return model in spec.get("models", [model])


def place(values: dict, model: str, key: tuple) -> tuple:
    """Where a value of the file as `model` sees it is written."""
    item, name = (*key[1:3], None, None)[:2]
    own = values["paper"].get(item, {}).get("for", {}).get(model, {}) if key[0] == "paper" else {}
    return ("paper", item, "for", model, *key[2:]) if name in own else key


def problems(values: dict, similar):
    """(key, what was found, what would be right) for every model that an item names and that there is not."""
    for item, spec in values["paper"].items():
        named = {**dict(enumerate(spec.get("models", []))), **{name: name for name in spec.get("for", {})}}
        for at, name in named.items():
            if name not in values["models"]:
                yield (
                    ("paper", item, "models" if isinstance(at, int) else "for", at),
                    f"an unknown model, `{name}`",
                    similar(name, values["models"]),
                )
        for name in spec.get("for", {}):
            if not applies(spec, name):
                yield ("paper", item, "for", name), "a model for which the item is not made", "one of its `models`"
