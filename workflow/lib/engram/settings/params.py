"""params.yaml: read, and checked against what its sections may hold and against itself. Imports no torch."""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from engram.settings import (
    checking,
    edits,
    families,
    hyperparameters,
    items,
    methods,
    original_files,
    sweeps,
    trace_variants,
)
from engram.settings import trained_editors as hypernets
from engram.settings.checking import Key, Problem, similar
from engram.settings.schema import Parameters

ORIGINALS = original_files.FOLDER
VARIABLE = "ENGRAM_MODELS"


class ParamsError(ValueError):
    """params.yaml cannot be used; the text names every problem."""


def load(path: str | Path) -> dict[str, Any]:
    """The content of params.yaml. ParamsError with all that is wrong in it."""
    path = Path(path)
    lines: dict[Key, int] = {}
    try:
        text = path.read_text(encoding="utf-8")
        problems = list(_read_keys(yaml.compose(text, yaml.CSafeLoader), (), lines))
        values: dict = {} if problems else yaml.load(text, yaml.CSafeLoader)
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror})") from error
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # bytes that are no text, dates that are none, nesting
        raise ParamsError(f"{path}: not YAML: {error}") from error
    problems = problems or checking.problems(Parameters, values)
    if not problems:
        values["run"]["models"] = active(values)
    problems = problems or list(_shapes(values)) or list(_against_itself(values, path.parent))
    if problems:
        raise ParamsError("\n".join(problem.text(path, lines) for problem in dict.fromkeys(problems)))
    return values


def active(values: dict[str, Any], environment: Mapping[str, str] = os.environ) -> list[str]:
    """The models that are built: those of `run.models`, or of the variable ENGRAM_MODELS, which takes its place.

    The variable holds names with commas between them; `real` stands for those of `run.real`.
    """
    given = environment.get(VARIABLE, "")
    if not given:
        return list(values["run"]["models"])
    return list(values["run"].get("real", ())) if given == "real" else list(dict.fromkeys(given.split(",")))


def remembered(path: str | Path) -> list[str]:
    """The models that dvc.yaml has stages of: all that params.yaml says are built, and the active ones."""
    run = yaml.load(Path(path).read_text(encoding="utf-8"), yaml.CSafeLoader)["run"]
    return list(dict.fromkeys([*run["models"], *run.get("real", ()), *active({"run": run})]))


def check(path: str | Path) -> None:
    """Leave with status 2 and a readable message if params.yaml cannot be used."""
    try:
        load(path)
    except ParamsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


def _read_keys(node: yaml.Node | None, key: Key, lines: dict[Key, int]) -> Iterator[Problem]:
    """Fill `lines` with the line of every key; yield keys that stand twice or are not words, and words that are not
    text.
    """
    lines[key] = node.start_mark.line + 1 if node else 1
    for word in (node, *(name for name, _ in node.value)) if isinstance(node, yaml.MappingNode) else (node,):
        if isinstance(word, yaml.ScalarNode) and not word.value.isprintable():
            yield Problem(key, checking.shown(word.value), "one line of text, without control characters")
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _read_keys(value, (*key, index), lines)
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            here = (*key, str(name.value))
            if name.tag != "tag:yaml.org,2002:str":
                yield Problem(here, f"a key that YAML reads as {name.tag.rsplit(':')[-1]}", "a word")
            elif here in lines:
                yield Problem(here, "the same key a second time", "each key once")
            yield from _read_keys(value, here, lines)
            lines[here] = name.start_mark.line + 1


def _shapes(values: dict) -> Iterator[Problem]:
    """Keys of one block that do not go together, and numbers of a stage that the file does not say."""
    sections = ("sampled", "known", "noise", "covariance", "trace", "targets", "edit")
    for stage in (*((section,) for section in sections), ("edit", "perplexity")):
        block = checking.values_at(values, stage)
        for key, about in checking.described_keys(Parameters, values, stage).items():
            if key not in block and key != "for":
                yield Problem((*stage, key), "nothing, the key is missing", about)
    if trace_variants.MAIN not in values["trace"]["variants"]:
        main = ("trace", "variants", trace_variants.MAIN)
        yield Problem(main, "nothing, the key is missing", "main, what figures show that name no variant")
    yield from items.shapes(values)
    for name, block in values["models"].items():
        here, right = ("models", name), "a model has either `train`, `hub` and `revision`, or `gguf`"
        first, *others = [key for key in ("hub", "gguf", "train") if key in block] or ["train"]
        for other in others:
            yield Problem((*here, other), f"{other} beside {first}", right)
        if first not in block:
            yield Problem((*here, first), "nothing, the key is missing", right)
        if "convert" in block and first != "hub":
            yield Problem((*here, "convert"), f"convert beside {first}", "only with `hub`")
        if ("hub" in block) != ("revision" in block):
            key = "revision" if "hub" in block else "hub"
            yield Problem((*here, key), "nothing, the key is missing", right)
    for name, block in values["sources"].items():
        if ("idf" in block) != ("vocabulary" in block):
            key = "vocabulary" if "idf" in block else "idf"
            yield Problem(
                ("sources", name, key), "nothing, the key is missing", "`idf` and `vocabulary` together, or neither"
            )


def _against_itself(values: dict, root: Path) -> Iterator[Problem]:
    without = list(_files(values))
    yield from without
    if without:
        return  # all else asks the files of the methods
    yield from _models(values)
    yield from _methods(values)
    yield from _items(values, root)
    yield from trace_variants.problems(values)
    yield from families.problems(values)
    yield from original_files.problems(values, ORIGINALS)
    for model in dict.fromkeys([*values["run"]["models"], *values["run"].get("real", [])]):
        if model not in values["models"]:
            continue
        seen = items.seen(values, model)
        yield from (Problem(items.place(values, model, key), *words) for key, *words in _paper(seen))


def _models(values: dict) -> Iterator[Problem]:
    if not values["run"]["models"]:
        yield Problem(("run", "real"), f"no model, and {VARIABLE} asks for these", "a pretrained model")
    for index, name in enumerate(values["run"]["models"]):
        if name not in values["models"]:
            where = f", in the variable {VARIABLE}" if os.environ.get(VARIABLE) else ""
            yield Problem(
                ("run", "models", index), f"an unknown model, `{name}`{where}", similar(name, values["models"])
            )
    for index, name in enumerate(values["run"].get("real", [])):
        if name not in values["models"]:
            yield Problem(("run", "real", index), f"an unknown model, `{name}`", similar(name, values["models"]))
    for name, block in values["models"].items():
        here = ("models", name)
        if held := original_files.KEPT.get(f"data/{name}"):
            yield Problem(here, f"a model named `{name}`", f"another name: data/{name} holds {held}")
        if block["source"] not in values["sources"]:
            yield Problem(
                (*here, "source"),
                f"an unknown source, `{block['source']}`",
                similar(block["source"], values["sources"]),
            )
        if "train" in block:
            yield from _trained(values, here, block, block["train"])


def _trained(values: dict, here: Key, block: dict, train: dict) -> Iterator[Problem]:
    layers, context = train["layers"], train["context"]
    if train["width"] % train["heads"]:
        yield Problem((*here, "train", "width"), str(train["width"]), f"a multiple of heads, {train['heads']}")
    if train["length"] > context:
        yield Problem((*here, "train", "length"), str(train["length"]), f"at most context, {context}")
    if block["trace_window"] > layers:
        yield Problem((*here, "trace_window"), str(block["trace_window"]), f"at most the model's {layers} layers")
    for index, layer in enumerate(block["covariance_layers"]):
        if layer >= layers:
            yield Problem((*here, "covariance_layers", index), str(layer), f"a layer of the model, 0 to {layers - 1}")
    longest = max(values["edit"]["generation_tokens"], families.longest(values))
    if longest > context:
        yield Problem(
            (*here, "train", "context"),
            str(context),
            f"at least {longest}, the longest text of prefixes.families and edit.generation_tokens",
        )


def _files(values: dict) -> Iterator[Problem]:
    for method, block in values["methods"].items():
        file, here = methods.file_of(values, method), ("methods", method)
        if file not in methods.files():
            key = (*here, methods.FILE) if methods.FILE in block else here
            yield Problem(key, f"a method without a file in methods/, `{file}`", similar(file, methods.files()))


def _methods(values: dict) -> Iterator[Problem]:
    for method in values["methods"]:
        for model in methods.blocks_of(values, method):
            here = ("methods", method, model)
            if model not in values["models"]:
                yield Problem(here, f"an unknown model, `{model}`", similar(model, values["models"]))
            else:
                yield from hyperparameters.problems(values, method, model)


def _items(values: dict, root: Path) -> Iterator[Problem]:
    folder = root / "workflow" / "figures"
    known = [path.relative_to(folder).with_suffix("").as_posix() for path in sorted(folder.glob("*/[!_]*.py"))]
    for item in values["paper"]:
        if item not in known:
            yield Problem(("paper", item), f"an item without code, workflow/figures/{item}.py", similar(item, known))
    for model, block in values["models"].items():
        for index, item in enumerate(block.get("items", [])):
            if item not in known:
                yield Problem(("models", model, "items", index), f"an unknown item, `{item}`", similar(item, known))
    yield from items.problems(values)


def _paper(values: dict) -> Iterator[Problem]:
    """What the items of one model ask for in vain; `values` as that model sees them."""
    yield from trace_variants.of_items(values)
    yield from edits.problems(values)
    used = {
        method for spec in values["paper"].values() for method in edits.compared(spec) if method in values["methods"]
    }
    used = {method for method in used if "hypernet" in methods.needs(values, method)}
    yield from hypernets.problems(values, used)
    wrong = list(sweeps.problems(values))
    yield from wrong
    points = values if wrong or list(families.problems(values)) else sweeps.expanded(values)
    for key, found, right in [*_methods(points), *families.problems(points)]:
        if place := sweeps.place(values, key):
            yield Problem(place, found, right)
