"""Whether methods and models can take the hyperparameters that params.yaml gives the editing methods."""

from collections.abc import Iterator

from engram.settings import checking, families, methods
from engram.settings.checking import Key, Problem, similar


def problems(values: dict, slug: str, model: str) -> Iterator[Problem]:
    """Problems of the hyperparameters in methods.<slug>.<model>, which its `Settings` or the model cannot take.

    Those of optimised values need not be there where they are another method's, its `family`; `layer` is the last of
    `layers`.
    """
    here, file = ("methods", slug, model), methods.file_of(values, slug)
    if families.family_of(values, slug, model) not in values["methods"]:
        return  # families.problems
    own = {key: value for key, value in values["methods"][slug][model].items() if key != "family"}
    block = families.lent_to(values, slug, model) | own
    wrong = list(_wrong(file, here, own, block))
    edited = [] if wrong else list(_edited(values["models"][model], here, own, methods.needs(values, slug)))
    yield from wrong or edited or checking.problems(methods.load(file).Settings, block, here)


def _wrong(file: str, here: Key, own: dict, block: dict) -> Iterator[Problem]:
    """Single keys that are unknown, lack or do not fit."""
    known, place = methods.keys_of(file), f"(methods/{file.replace('-', '_')}.py)"
    for key in own:
        if key not in known:
            right = similar(key, [*known, "family"]) if known else "no keys here"
            yield Problem((*here, key), f"an unknown key, `{key}`", f"{right} {place}")
    for problem in checking.problems(
        methods.load(file).Settings, {key: block[key] for key in block if key in known}, here
    ):
        if len(problem.key) > len(here) and (problem.key[len(here)] in own or problem.key[len(here)] not in block):
            yield problem._replace(right=f"{problem.right} {place}")


def _edited(model: dict, here: Key, block: dict, stages: tuple[str, ...]) -> Iterator[Problem]:
    """Layers in a block that are no list of layers, or that the model or its covariance does not have."""
    layers = block.get("layers", [])
    if layers != sorted(set(layers)):
        yield Problem((*here, "layers"), str(layers), "a rising list; the value is optimised in its last layer")
    places = {(*here, key): block[key] for key in ("layer", "loss_layer") if block.get(key) is not None}
    places |= {(*here, "layers", index): layer for index, layer in enumerate(layers)}
    last = methods.last_layer(block)
    if layers and block.get("layer", last) != last:
        yield Problem(
            (*here, "layer"), str(block["layer"]), f"the last of `layers`, {last}, where the value is optimised"
        )
    for place, layer in places.items():
        if "train" in model and layer >= model["train"]["layers"]:
            yield Problem(place, str(layer), f"a layer of the model, 0 to {model['train']['layers'] - 1}")
        elif "covariance" in stages and "loss_layer" not in place and layer not in model["covariance_layers"]:
            yield Problem(place, str(layer), f"one of models.{here[2]}.covariance_layers, {model['covariance_layers']}")
