"""The section `hypernet` of the parameter file: which trained editors there are, and what each is trained with.

`values` are the contents of the parameter file: hypernet.editors.<name> says which network and which task,
hypernet.mend and hypernet.ke hold network, data and training by model, hypernet.published the files of published
editors by model and name.
"""

from collections.abc import Iterator
from typing import Literal

from engram.settings.blocks import Count, NotNegative, Positive, Slug, Text, block, key
from engram.settings.checking import Problem, similar
from engram.settings.sections import AtLeastTwo

Task = Literal["gen", "facts", "zsre"]


@block
class MendNetwork:
    """The networks of MEND; defaults are the reference's."""

    layers: Count = key("Edited: the MLPs of so many last layers.")
    rank: Count = key("Rank of a layer of the network.", default=1920)
    hidden_layers: Count = key("Hidden layers of the network.", default=1)
    edit_rate: Positive = key("Where the learnt rates of the edit start.", default=1e-4)


@block
class KeNetwork:
    """The learner of KE; defaults are the reference's."""

    layers: Count = key("Edited: the MLPs of so many last layers.")
    hidden: Count = key("Width of the LSTM, each way, and of the conditioners.", default=512)
    condition: Count = key("Width of the condition.", default=768)
    max_scale: Positive = key("Factor of the whole change.", default=1.0)


@block
class TrainingData:
    """What an editor is trained on."""

    records: Count = key("Edits to train on, at most: the last that nothing measures.")
    validation: Count = key("Further edits, by which training is stopped.")
    text_tokens: AtLeastTwo = key("Longest passage that should stay as it is.")
    prompt_tokens: AtLeastTwo = key("gen: longest beginning that the model completes.")
    completion: Count = key("gen: tokens of a completion.", default=10)
    top_k: Count = key("gen: most likely tokens that are sampled from.", default=50)


@block
class TrainingRun:
    """How an editor is trained; defaults are the reference's where it has the same number."""

    steps: Count = key("Steps of Adam, at most.")
    rate: Positive = key("Learning rate of the network.")
    interval: Count = key("Steps between validations, where a run can be taken up.")
    patience: Count = key("Steps without a better validation until it ends.")
    edit_rate: Positive = key("MEND: learning rate of the learnt rates.", default=1e-4)
    edits: Count = key("Edits in the mean loss of a step; the reference adds ten up one by one.", default=10)
    edit_weight: NotNegative = key("Factor of the loss of the edit.", default=0.1)
    locality_weight: NotNegative = key("Factor of the KL divergence on passages.", default=1.0)
    clip: Positive = key("Largest norm of the gradient.", default=100.0)


@block
class MendEditor:
    """MEND for one model."""

    network: MendNetwork = key("The network.")
    data: TrainingData = key("What it is trained on.")
    training: TrainingRun = key("How it is trained.")


@block
class KeEditor:
    """KE for one model."""

    network: KeNetwork = key("The network.")
    data: TrainingData = key("What it is trained on.")
    training: TrainingRun = key("How it is trained.")


@block
class Editor:
    """A trained editor."""

    net: Literal["mend", "ke"] = key("The network.")
    task: Task = key("Edits: the model's own completions, or records of a table.")


@block
class Hypernet:
    """Training of the networks of MEND and KE."""

    editors: dict[Slug, Editor] = key("Trained editors, by the name of the method that uses them.")
    published: dict[str, dict[str, Text]] = key(
        "By model and editor, the published .pt file that is used instead of training."
    )
    mend: dict[str, MendEditor] = key("MEND, by model.")
    ke: dict[str, KeEditor] = key("KE, by model.")


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


def problems(values: dict, used: set[str]) -> Iterator[Problem]:
    """A problem for each editor that is wanted or named and cannot be had.

    `used`: the editing methods of the paper items that read this stage.
    """
    hypernet, editors = values["hypernet"], values["hypernet"]["editors"]
    for model, files in hypernet["published"].items():
        if model not in values["models"]:
            yield Problem(
                ("hypernet", "published", model), f"an unknown model, `{model}`", similar(model, values["models"])
            )
        for name in set(files) - set(editors):
            yield Problem(
                ("hypernet", "published", model, name), f"an unknown editor, `{name}`", similar(name, editors)
            )
    for name in sorted(used):
        if name not in editors:
            yield Problem(
                ("hypernet", "editors"),
                f"nothing for `{name}`, which a paper item uses",
                f"an entry {name}: net and task",
            )
            continue
        for model in values["run"]["models"]:
            net = editors[name]["net"]
            if model in values["models"] and not published(values, model, name) and model not in hypernet[net]:
                yield Problem(
                    ("hypernet", net), f"no block for the active model {model}", f"hypernet.{net}.{model}, for `{name}`"
                )
