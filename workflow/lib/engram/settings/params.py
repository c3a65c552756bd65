"""params.yaml: read, checked against the closed schema and against itself. Imports neither torch nor snakemake.

A problem is said in four parts: the file and line, the key, what was found there, what would be right.
"""

import difflib
import sys
from pathlib import Path
from typing import NamedTuple

import yaml
from jsonschema import Draft202012Validator

from engram.settings import edits, families, hyperparameters, items, original_files, sweeps, trace_variants
from engram.settings import trained_editors as hypernets

SCHEMA = Path(__file__).parents[3] / "schemas" / "params.schema.yaml"
ORIGINALS = original_files.FOLDER
WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a word",
    "boolean": "true or false",
    "array": "a list, [a, b]",
    "object": "a block of keys",
    "null": "null",
}


class Problem(NamedTuple):
    key: tuple  # the way to the value: ("run", "models", 0)
    found: str
    right: str


class ParamsError(ValueError):
    """params.yaml cannot be used; the text names every problem."""


def load(path) -> dict:
    """The content of params.yaml. ParamsError with all that is wrong in it."""
    path, lines = Path(path), {}
    try:
        text = path.read_text(encoding="utf-8")
        problems = list(_read_keys(yaml.compose(text, yaml.CSafeLoader), (), lines))
        values = None if problems else yaml.load(text, yaml.CSafeLoader)
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror})") from error
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # bytes that are no text, dates that are none, nesting
        raise ParamsError(f"{path}: not YAML: {error}") from error
    problems = problems or list(_against_schema(values)) or list(_against_itself(values, path.parent))
    if problems:
        raise ParamsError("\n".join(_said(path, lines, problem) for problem in dict.fromkeys(problems)))
    return values


def check(path) -> None:
    """Leave with status 2 and a readable message if params.yaml cannot be used."""
    try:
        load(path)
    except ParamsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


def _read_keys(node, key: tuple, lines: dict):
    """Fill `lines` with the line of every key; yield keys that stand twice or are not words, and words that are not
    text.
    """
    lines[key] = node.start_mark.line + 1 if node else 1
    for word in (node, *(name for name, _ in node.value)) if isinstance(node, yaml.MappingNode) else (node,):
        if isinstance(word, yaml.ScalarNode) and not word.value.isprintable():
            yield Problem(key, _shown(word.value), "one line of text, without control characters")
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


def _said(path: Path, lines: dict, problem: Problem) -> str:
    known = next(problem.key[:n] for n in range(len(problem.key), -1, -1) if problem.key[:n] in lines)
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem.key).lstrip(".")
    return f"{path}, line {lines[known]}: {name or '(whole file)'}\n  found: {problem.found}\n  right: {problem.right}"


def similar(name, known) -> str:
    """`did you mean x? known are …` for a name that is not among `known`."""
    near = difflib.get_close_matches(str(name), known, 1, 0.5)
    return (f"did you mean `{near[0]}`? " if near else "") + f"known are {', '.join(sorted(known))}"


def _against_schema(values):
    schema = yaml.load(SCHEMA.read_text(encoding="utf-8"), yaml.CSafeLoader)
    for error in sorted(Draft202012Validator(schema).iter_errors(values), key=lambda error: list(map(str, error.path))):
        key, rule, wanted = tuple(error.absolute_path), error.validator, error.validator_value
        if rule == "additionalProperties":
            known = list(error.schema["properties"]) if "properties" in error.schema else []
            for name in set(error.instance) - set(known):
                right = similar(name, known) if known else "no keys here"
                yield Problem((*key, name), f"an unknown key, `{name}`", right)
        elif rule == "required":
            for name in sorted(set(wanted) - set(error.instance)):
                yield Problem((*key, name), "nothing, the key is missing", _described(schema, error, name))
        else:
            yield Problem(key, _shown(error.instance), _right(schema, error, rule, wanted))


def _right(schema, error, rule, wanted) -> str:
    if rule == "not":
        return "not here: " + _described(schema, error)
    if rule == "enum" and isinstance(error.instance, str):
        return similar(error.instance, list(map(str, wanted)))
    texts = {
        "type": lambda: " or ".join(WORDS[word] for word in ([wanted] if isinstance(wanted, str) else wanted)),
        "enum": lambda: "one of " + ", ".join(map(str, wanted)),
        "minimum": lambda: f"at least {wanted}",
        "maximum": lambda: f"at most {wanted}",
        "exclusiveMinimum": lambda: f"more than {wanted}",
        "minItems": lambda: f"at least {wanted} entries",
        "maxItems": lambda: f"at most {wanted} entries",
        "uniqueItems": lambda: "every entry once",
        "pattern": lambda: f"a word of the form {wanted}",
        "anyOf": lambda: "another form",
    }
    text = texts.get(rule, lambda: error.message)()
    if rule == "type" and "number" in wanted and isinstance(error.instance, str):
        text += " (YAML reads 1e-3 as a word: write 0.001)"
    return f"{text}; {_described(schema, error)}"


def _described(schema: dict, error, name: str | None = None) -> str:
    """The description that the schema gives the key of `error`, or its key `name`."""
    node, text = schema, schema["description"]
    for step in [*error.absolute_schema_path] + (["..", "properties", name] if name else []):
        while isinstance(node, dict) and "$ref" in node and step not in node:
            node = schema["$defs"][node["$ref"].rsplit("/")[-1]]
            text = node.get("description", text)
        if step == "..":  # from the keyword `required` back to its schema
            node = error.schema
        elif isinstance(node, dict):
            node = node.get(step, {})
        else:
            node = node[step] if isinstance(step, int) else {}
        text = node["description"] if isinstance(node, dict) and "description" in node else text
    return text


def _shown(value) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _against_itself(values: dict, root: Path):
    without = list(_files(values))
    yield from without
    if without:
        return  # all else asks the files of the methods
    yield from _covariance(values["covariance"])
    yield from _models(values)
    yield from _methods(values)
    yield from _items(values, root)
    yield from (Problem(*problem) for problem in trace_variants.problems(values))
    yield from (Problem(*problem) for problem in families.problems(values, similar))
    yield from (Problem(*problem) for problem in original_files.problems(values, ORIGINALS, similar))
    for model in [name for name in values["run"]["models"] if name in values["models"]]:
        seen = items.seen(values, model)
        yield from (Problem(items.place(values, model, key), *words) for key, *words in _paper(seen))


def _covariance(block: dict):
    if block["dtype"] == "float32" and block["shards"] != 1:
        yield Problem(
            ("covariance", "shards"), str(block["shards"]), "1 with dtype float32, whose sums depend on their grouping"
        )


def _models(values: dict):
    for index, name in enumerate(values["run"]["models"]):
        if name not in values["models"]:
            yield Problem(("run", "models", index), f"an unknown model, `{name}`", similar(name, values["models"]))
    for name, block in values["models"].items():
        here = ("models", name)
        if block["source"] not in values["sources"]:
            yield Problem(
                (*here, "source"),
                f"an unknown source, `{block['source']}`",
                similar(block["source"], values["sources"]),
            )
        if "train" in block:
            yield from _trained(values, here, block, block["train"])


def _trained(values: dict, here: tuple, block: dict, train: dict):
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


def _files(values: dict):
    for method, block in values["methods"].items():
        file, here = hyperparameters.file_of(values, method), ("methods", method)
        if file not in hyperparameters.files():
            key = (*here, hyperparameters.FILE) if hyperparameters.FILE in block else here
            yield Problem(key, f"a method without a file in methods/, `{file}`", similar(file, hyperparameters.files()))


def _methods(values: dict):
    for method in values["methods"]:
        for model in hyperparameters.blocks_of(values, method):
            here = ("methods", method, model)
            if model not in values["models"]:
                yield Problem(here, f"an unknown model, `{model}`", similar(model, values["models"]))
            else:
                yield from (Problem(*problem) for problem in hyperparameters.problems(values, method, model, similar))


def _items(values: dict, root: Path):
    folder = root / "workflow" / "figures"
    known = [path.relative_to(folder).with_suffix("").as_posix() for path in sorted(folder.glob("*/[!_]*.py"))]
    for item in values["paper"]:
        if item not in known:
            yield Problem(("paper", item), f"an item without code, workflow/figures/{item}.py", similar(item, known))
    yield from (Problem(*problem) for problem in items.problems(values, similar))


def _paper(values: dict):
    """What the items of one model ask for in vain; `values` as that model sees them."""
    yield from (Problem(*problem) for problem in trace_variants.of_items(values, similar))
    yield from (Problem(*problem) for problem in edits.problems(values, similar))
    used = {
        method for spec in values["paper"].values() for method in edits.compared(spec) if method in values["methods"]
    }
    used = {method for method in used if "hypernet" in hyperparameters.needs(values, method)}
    yield from (Problem(*problem) for problem in hypernets.problems(values, used, similar))
    wrong = [Problem(*problem) for problem in sweeps.problems(values, similar)]
    yield from wrong
    points = values if wrong or list(families.problems(values, similar)) else sweeps.expanded(values)
    for key, found, right in [*_methods(points), *families.problems(points, similar)]:
        if sweeps.place(values, key):
            yield Problem(sweeps.place(values, key), found, right)
