"""The items of the papers, figures and tables: what a line under `paper:` may hold, and how one model sees it.

A line holds for every active model, or those it lists as `models`; `for: {mini: {records: 30}}` changes keys of it for
one model. `values` are the contents of the parameter file.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import PlainValidator
from pydantic_core import PydanticCustomError

from engram.settings import checking
from engram.settings.blocks import Count, Natural, Once, Some, block, key
from engram.settings.checking import Problem, shown, similar
from engram.settings.fact_groups import FORM, FactGroup
from engram.settings.sections import Prompts

OWN = ("models", "for")
BY_MODEL = ("sampled", "covariance", "trace")  # sections that may have keys of their own for a model


def _group(value: Any) -> int | str:
    try:
        if isinstance(value, int | str) and not isinstance(value, bool):
            FactGroup.parse(value)
            return value
    except ValueError:
        pass
    raise PydanticCustomError("fact_group", FORM)


Group = Annotated[int | str, PlainValidator(_group, json_schema_input_type=int | str)]
Groups = Group | Annotated[tuple[Group, ...], Some, Once]
Names = Annotated[tuple[str, ...], Some, Once]
ByModel = dict[str, Annotated[tuple[int, ...], Some, Once]]


@block
class ShownPrompts:
    """Options of a figure of single prompts."""

    count: Count = key("Number of prompts that are shown, chosen by rule.", default=1)
    prompts: Prompts = key("Single prompts: by model, their ids or subjects; else by rule.", default={})


@block
class AtypicalPrompts:
    """Options of the figure of prompts where another token matters more than the last of the subject."""

    count: Count = key("Number of prompts that are shown, at most.", default=4)


@block
class ShownTexts:
    """Options of a figure of generated texts."""

    cases: Count = key("Number of facts that are shown, chosen by rule.", default=3)
    case_ids: ByModel = key("By model, case_id of the facts that are shown; else by rule.", default={})


@block
class ShownRecord:
    """Options of a figure of one record."""

    case_ids: ByModel = key("By model, the case_id that is shown, in a list of one; else the first.", default={})


OPTIONS: dict[str, type] = {  # what the script of an item takes; those that are not named take no options
    "rome/fig1_trace_example": ShownPrompts,
    "rome/fig6_generations": ShownTexts,
    "rome/fig10_examples": ShownPrompts,
    "rome/fig11_atypical": AtypicalPrompts,
    "rome/fig12_extra_token": ShownPrompts,
    "rome/fig14_severed_cases": ShownPrompts,
    "rome/fig19_generations": ShownTexts,
    "rome/fig21_counterfact_record": ShownRecord,
    "rome/fig22_zsre_record": ShownRecord,
    "rome/fig25_attn_edit_generations": ShownTexts,
}


@block
class Sweep:
    """Methods that differ from one in some hyperparameters; with `from` edit or evaluate."""

    method: str = key("The block of `methods` that gives all other hyperparameters.")
    over: Annotated[dict[str, Annotated[tuple[Any, ...], Some, Once]], Some] = key(
        "By hyperparameter, the values it takes; every combination is a point."
    )


@block
class Shown:
    """The keys of an item that may be others for one model."""

    variants: Names | None = key(
        "Blocks of `trace.variants` that an item `from` trace shows; main if nothing is said.", default=None
    )
    methods: Names | None = key(
        "Blocks of `methods` that the item compares; with `from` edit or evaluate.", default=None
    )
    n: Groups | dict[str, Groups] | None = key(
        "Facts edited together, with `from` edit or evaluate; 1: each alone; 1000by100: in batches, one "
        "after the other on one model. One such word, a list of them, or a word or a list by method.",
        default=None,
    )
    records: Count | None = key("Records edited, n of them at least; else by method or model.", default=None)
    texts: Natural | None = key(
        "Records whose texts are generated, the first; else all. Needed by GE, RS and samples.", default=None
    )
    sweep: Sweep | None = key("Methods that differ from one in some hyperparameters.", default=None)
    options: dict[str, Any] = key("What the item's own script takes.", default={})


@block
class Item(Shown):
    """A figure, a table or metrics of a paper."""

    kind: Literal["figure", "table", "metrics"] = key(
        "figure: pdf, png and csv; table: csv and md; metrics: json, which DVC compares.", kw_only=True
    )
    from_: Annotated[
        tuple[
            Literal[
                "dataset", "zsre", "trace", "gradients", "edit", "norms", "drift", "evaluate", "records", "published"
            ],
            ...,
        ],
        Some,
        Once,
    ] = key(
        "Tables of stages that it reads (norms, drift: edit; records: evaluate); published numbers.",
        alias="from",
        kw_only=True,
    )
    dataset: Literal["counterfact", "zsre"] | None = key(
        "Records that are edited; with `from` edit or evaluate.", default=None
    )
    models: Names | None = key("The models that the item is made for; else every active one.", default=None)
    for_: dict[str, Shown] = key("By model, keys of the item that are others for it.", default={}, alias="for")


EDITS = ("edit", "norms", "drift", "evaluate", "records")  # tables of edits, `from` which an item compares methods


def shapes(values: dict) -> Iterator[Problem]:
    """Problems of items whose keys do not go together."""
    for item, spec in values["paper"].items():
        here, of_edits = ("paper", item), set(EDITS) & set(spec["from"])
        if of_edits:
            for key in ("dataset", "n", *(["methods"] if "sweep" not in spec else [])):
                if key not in spec:
                    yield Problem(
                        (*here, key),
                        "nothing, the key is missing",
                        "the edits that an item `from` edit or evaluate compares: by dataset, n, methods or a sweep",
                    )
        else:
            for key in {"dataset", "methods", "n", "records", "texts", "sweep"} & set(spec):
                yield Problem(
                    (*here, key),
                    shown(spec[key]),
                    "not here. Only an item `from` edit or evaluate has dataset, methods, n, records, texts, sweep",
                )
        for model, own in spec.get("for", {}).items():
            if not own:
                yield Problem((*here, "for", model), "{}", "at least one key that is another for this model")
        blocks = {here: spec} | {(*here, "for", model): own for model, own in spec.get("for", {}).items()}
        for place, block_ in blocks.items():
            kind, options = OPTIONS.get(item), block_.get("options", {})
            if kind:
                yield from checking.problems(kind, options, (*place, "options"))
            elif options:
                yield Problem((*place, "options"), shown(options), f"none: {item} takes no options")


def seen(values: dict, model: str) -> dict:
    """The parameter file as `model` sees it: itself the only active model, its items, and the sections of stages, with
    the keys that they have for it.
    """
    listed = values["models"][model].get("items", list(values["paper"]))
    paper = {
        item: {key: value for key, value in (spec | spec.get("for", {}).get(model, {})).items() if key not in OWN}
        for item, spec in values["paper"].items()
        if applies(spec, model) and item in listed
    }
    own = {stage: section(values[stage], model) for stage in BY_MODEL if stage in values}
    return values | {"run": values["run"] | {"models": [model]}, "paper": paper} | own


def section(block: dict, model: str) -> dict:
    """The section of a stage as one model sees it: with the keys that are others `for` it, in every variant as well."""
    changes = block.get("for", {}).get(model, {})
    found = {key: value for key, value in (block | changes).items() if key != "for"}
    if "variants" in found:
        found["variants"] = {
            name: variant | {key: value for key, value in changes.items() if key in variant}
            for name, variant in found["variants"].items()
        }
    return found


def section_keys(values: dict, stage: str, model: str) -> list[str]:
    """The dotted keys of params.yaml that a stage's section has for one model."""
    if stage not in BY_MODEL or "for" not in values[stage]:
        return [stage]
    own = [f"{stage}.for.{model}"] if model in values[stage]["for"] else []
    return [*(f"{stage}.{key}" for key in values[stage] if key != "for"), *own]


def applies(spec: dict, model: str) -> bool:
    """Whether an item is made for a model."""
    return model in spec.get("models", [model])


def place(values: dict, model: str, key: tuple) -> tuple:
    """Where a value of the file as `model` sees it is written."""
    item, name = (*key[1:3], None, None)[:2]
    own = values["paper"].get(item, {}).get("for", {}).get(model, {}) if key[0] == "paper" else {}
    return ("paper", item, "for", model, *key[2:]) if name in own else key


def problems(values: dict) -> Iterator[Problem]:
    """A problem for every model that an item or a section names and that there is not, and every such item."""
    for stage in BY_MODEL:
        for name in values[stage].get("for", {}):
            if name not in values["models"]:
                yield Problem((stage, "for", name), f"an unknown model, `{name}`", similar(name, values["models"]))
    for model, block_ in values["models"].items():
        for index, item in enumerate(block_.get("items", [])):
            if item not in values["paper"]:
                yield Problem(
                    ("models", model, "items", index), f"an unknown item, `{item}`", similar(item, values["paper"])
                )
    for item, spec in values["paper"].items():
        named = {**dict(enumerate(spec.get("models", []))), **{name: name for name in spec.get("for", {})}}
        for at, name in named.items():
            if name not in values["models"]:
                yield Problem(
                    ("paper", item, "models" if isinstance(at, int) else "for", at),
                    f"an unknown model, `{name}`",
                    similar(name, values["models"]),
                )
        for name in spec.get("for", {}):
            if not applies(spec, name):
                yield Problem(
                    ("paper", item, "for", name), "a model for which the item is not made", "one of its `models`"
                )
