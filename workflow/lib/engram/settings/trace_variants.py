"""The variants of stage `trace`: each is the section `trace` with some keys changed, and a noise rule of its own.

`values` are the contents of the parameter file: trace.variants.<name> holds the changed keys and `noise`, the rule that
takes the place of the model's.
"""

from collections.abc import Iterable, Iterator

from engram.settings.checking import Problem, similar

MAIN = "main"  # what an item of a paper shows that names no variant


def section(trace: dict, variant: str) -> dict:
    """The settings of one variant: flat, without `variants` and `noise`."""
    merged = trace | trace["variants"][variant]
    return {key: value for key, value in merged.items() if key not in ("variants", "noise", "for")}


def noise_of(values: dict, model: str, variant: str) -> str:
    """The noise rule of one variant on one model."""
    return str(values["trace"]["variants"][variant].get("noise", values["models"][model]["noise"]))


def keys_of(values: dict, model: str, variant: str) -> list[str]:
    """The dotted keys of params.yaml that the settings of one variant and its noise rule on one model are read from."""
    shared = [f"trace.{key}" for key in values["trace"] if key not in ("variants", "for")]
    own = [f"trace.for.{model}"] if model in values["trace"].get("for", {}) else []
    return [*shared, *own, *_keys_of_noise(values, model, variant)]


def keys_of_item(values: dict, model: str, spec: dict) -> list[str]:
    """The dotted keys of params.yaml that `shown` reads, but for the item's own line."""
    noises = [key for variant in of_item(spec) for key in _keys_of_noise(values, model, variant)]
    return ["trace.extra_tokens", *noises]


def _keys_of_noise(values: dict, model: str, variant: str) -> list[str]:
    own = [] if "noise" in values["trace"]["variants"][variant] else [f"models.{model}.noise"]
    return [f"trace.variants.{variant}", *own]


def keys_of_rule(values: dict, model: str, rule: str) -> list[str]:
    """The dotted keys of params.yaml that ask one model for this noise rule: variants, and the items that read them."""
    asking = [name for name in wanted(values) if noise_of(values, model, name) == rule]
    own = [name for name in asking if "noise" in values["trace"]["variants"][name]]
    items = dict.fromkeys(f"paper.{item}" for name in asking for item in items_of(values, name))
    return [*items, *(f"trace.variants.{name}" for name in own), *([f"models.{model}.noise"] if asking != own else [])]


def rules(values: dict, model: str, variants: Iterable[str]) -> list[str]:
    """The noise rules that these variants need on one model, each once."""
    return list(dict.fromkeys(noise_of(values, model, variant) for variant in variants))


def wanted(values: dict) -> list[str]:
    """The variants that items of the papers read, in the order of the file; gradients are of prompts of `main`."""
    return [variant for variant in values["trace"]["variants"] if items_of(values, variant)]


def items_of(values: dict, variant: str) -> list[str]:
    """The items of the papers that read a variant, or gradients of its prompts."""
    return [
        item
        for item, spec in values["paper"].items()
        if ("trace" in spec["from"] and variant in of_item(spec)) or ("gradients" in spec["from"] and variant == MAIN)
    ]


def of_item(spec: dict) -> list[str]:
    """The variants that an entry of `paper` reads."""
    return spec.get("variants", [MAIN])


def shown(values: dict, model: str, spec: dict) -> dict:
    """What a figure says about the variants it shows: name -> noise rule and number of extra corrupted tokens."""
    return {
        name: {"noise": noise_of(values, model, name), "extra_tokens": section(values["trace"], name)["extra_tokens"]}
        for name in of_item(spec)
    }


def problems(values: dict) -> Iterator[Problem]:
    """A problem for each precision that cannot be used."""
    variants = values["trace"]["variants"]
    for name in variants:
        here = ("trace", "variants", name, "precision") if "precision" in variants[name] else ("trace", "precision")
        if values["run"]["device"] == "cpu" and section(values["trace"], name)["precision"] == "tf32":
            yield Problem(here, "tf32 with run.device cpu", "float32, float64 or bfloat16: only CUDA has tf32")


def of_items(values: dict) -> Iterator[Problem]:
    """A problem for each variant and model that an item of a paper names in vain."""
    variants, models = values["trace"]["variants"], values["models"]
    for item, spec in values["paper"].items():
        if "variants" in spec and "trace" not in spec["from"]:
            yield Problem(
                ("paper", item, "variants"), "variants of a stage that is not read", "only with `from: [trace]`"
            )
        for index, name in enumerate(spec.get("variants", [])):
            if name not in variants:
                yield Problem(
                    ("paper", item, "variants", index), f"an unknown variant, `{name}`", similar(name, variants)
                )
        for option in ("prompts", "case_ids"):
            for name in spec.get("options", {}).get(option, {}):
                if name not in models:
                    yield Problem(
                        ("paper", item, "options", option, name), f"an unknown model, `{name}`", similar(name, models)
                    )
