"""The section `hypernet` of the parameter file: which editors there are, and what each is trained with. Imports no
torch.

`values` are the contents of the parameter file: hypernet.editors.<name> says which network and which task,
hypernet.mend and hypernet.ke hold network, data and training by model, hypernet.published the files of published
editors by model and name.
"""

NETS = ("mend", "ke")


def section(values: dict, model: str, name: str) -> dict:
    """The settings of one editor for one model: net, task, network, data, training; net alone if it is published."""
    editor = values["hypernet"]["editors"][name]
    if published(values, model, name):
        return {"net": editor["net"]}
    return editor | values["hypernet"][editor["net"]][model]


def keys_of(values: dict, model: str, name: str) -> list[str]:
    """The dotted keys of params.yaml that the settings of one editor for one model are read from."""
    net = [] if published(values, model, name) else [f"hypernet.{values['hypernet']['editors'][name]['net']}.{model}"]
    return ["hypernet.published", f"hypernet.editors.{name}", *net]


def published(values: dict, model: str, name: str) -> str | None:
    """The file of a published editor; None if it is trained here."""
    return values["hypernet"]["published"].get(model, {}).get(name)


def problems(values: dict, used: set[str], similar):
    """(key, what was found, what would be right) for each editor that is wanted or named and cannot be had.

    `used`: the editing methods of the paper items that read this stage; `similar(name, known)` says what a name may
    mean.
    """
    hypernet, editors = values["hypernet"], values["hypernet"]["editors"]
    for model, files in hypernet["published"].items():
        if model not in values["models"]:
            yield ("hypernet", "published", model), f"an unknown model, `{model}`", similar(model, values["models"])
        for name in set(files) - set(editors):
            yield ("hypernet", "published", model, name), f"an unknown editor, `{name}`", similar(name, editors)
    for name in sorted(used):
        if name not in editors:
            yield (
                ("hypernet", "editors"),
                f"nothing for `{name}`, which a paper item uses",
                f"an entry {name}: net and task",
            )
            continue
        for model in values["run"]["models"]:
            net = editors[name]["net"]
            if model in values["models"] and not published(values, model, name) and model not in hypernet[net]:
                yield (
                    ("hypernet", net),
                    f"no block for the active model {model}",
                    f"hypernet.{net}.{model}, for `{name}`",
                )
