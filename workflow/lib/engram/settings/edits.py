"""Which edits the items of the papers want, and of how many records. Pure functions on the contents of the parameter
file.

An edit is {dataset, method, n}, n a FactGroup. An item names its methods, those of its sweep, and for all of them, or
for each by its name, the words n.
"""

from collections.abc import Iterator
from typing import Any

from engram.settings import families, methods, sweeps
from engram.settings.checking import Problem, similar
from engram.settings.fact_groups import FactGroup

CAN = {"single": "each fact alone", "mass": "many facts at once", "sequential": "facts in batches, one after the other"}
RIGHT = {"single": "1", "mass": "a number of facts, 100", "sequential": "<facts>by<batch>, 100by1"}


def compared(spec: dict) -> dict[str, tuple]:
    """The methods that one entry of `paper` names, and where: those it lists, and the one it sweeps over."""
    swept = {spec["sweep"]["method"]: ("sweep", "method")} if "sweep" in spec else {}
    return swept | {name: ("methods", index) for index, name in enumerate(spec.get("methods", []))}


def of_item(spec: dict) -> list[dict]:
    """The edits that one entry of `paper` compares, in its order; none if it reads no edits."""
    named = {name: name for name in spec.get("methods", [])}
    named |= {slug: spec["sweep"]["method"] for slug in sweeps.points(spec)}  # noqa: C420  no sweep, no key
    return [
        {"dataset": spec["dataset"], "method": method, "n": FactGroup.parse(n)}
        for method, name in named.items()
        for n in _words(spec, name)[1]
    ]


def _words(spec: dict, name: str) -> tuple[tuple, list]:
    """Where the words n of a method, or of the method that is swept, stand, and what they are."""
    given, here = (spec["n"].get(name, []), ("n", name)) if isinstance(spec["n"], dict) else (spec["n"], ("n",))
    return here, given if isinstance(given, list) else [given]


def wanted(values: dict) -> list[dict]:
    """The edits of all items, each once."""
    return [
        dict(row)
        for row in dict.fromkeys(tuple(row.items()) for spec in values["paper"].values() for row in of_item(spec))
    ]


def counts(values: dict, model: str) -> dict[tuple, int]:
    """(dataset, method, n) -> how many records are edited: the most that an item asks for, and n of them at least; of
    certain relations, n.

    An item that does not say `records` asks for those of its method, or else of the model. `values`: sweeps expanded.
    """
    found: dict[tuple, int] = {}
    for spec in values["paper"].values():
        for row in of_item(spec):
            edit, group = tuple(row.values()), row["n"]
            asked = 0 if group.ranks else spec.get("records", _usual(values, model, row["method"]))
            found[edit] = max(found.get(edit, group.facts), asked)
    return found


def count(values: dict, model: str, dataset: str, method: str, n: FactGroup) -> int:
    """How many records one edit edits; also of one that no item wants."""
    usual = max(n.facts, 0 if n.ranks else _usual(values, model, method))
    return counts(values, model).get((dataset, method, n), usual)


def texts(values: dict, model: str, dataset: str, method: str, n: FactGroup) -> int | None:
    """Of how many records texts are generated: the most that an item of the edit asks for, None for all that are
    edited.
    """
    edit = {"dataset": dataset, "method": method, "n": n}
    asked = [spec.get("texts") for spec in values["paper"].values() if edit in of_item(spec)]
    size = max(asked) if asked and None not in asked else None
    return None if size is None or size >= count(values, model, dataset, method, n) else size


def drifts(values: dict, dataset: str, method: str, n: FactGroup) -> bool:
    """Whether an item reads how an edit changes what models say about text that was held out."""
    edit = {"dataset": dataset, "method": method, "n": n}
    return any("drift" in spec["from"] and edit in of_item(spec) for spec in values["paper"].values())


def keys_of(values: dict, rows: list[dict]) -> list[str]:
    """The dotted keys of params.yaml that ask for any of these edits, and say of how many records and texts: items, and
    `records` of methods. `values`: sweeps expanded; the model's own number is not among them.
    """
    items = [f"paper.{item}" for item, spec in values["paper"].items() if any(row in rows for row in of_item(spec))]
    swept = sweeps.swept(values)
    names = dict.fromkeys(swept.get(row["method"], row["method"]) for row in rows)
    return [*items, *(f"methods.{name}.records" for name in names if "records" in values["methods"][name])]


def readers(values: dict, model: str, stage: str) -> dict[Any, list[dict]]:
    """What the stage `targets` or `hypernet` makes for the wanted edits of a model, and which of them read it:
    (dataset, family) of optimised values, or name of a trained editor -> edits. `values`: sweeps expanded.
    """
    swept, found = sweeps.swept(values), dict[Any, list[dict]]()
    for row in wanted(values):
        method = row["method"]
        if stage in methods.needs(values, method):
            family = (row["dataset"], families.family_of(values, method, model))
            found.setdefault(family if stage == "targets" else swept.get(method, method), []).append(row)
    return found


def _usual(values: dict, model: str, method: str) -> int:
    return values["methods"][method].get("records", values["models"][model]["records"]["count"])


def only_known(values: dict, model: str, dataset: str) -> bool:
    """Whether only those records of a dataset are edited that the model answers correctly."""
    found = values["models"][model]["records"]["only_known"]
    return found if isinstance(found, bool) else found[dataset]


def targets(values: dict, model: str) -> dict[tuple[str, str], dict]:
    """(dataset, family) -> the records whose optimised values are found, all that any edit reads, as arguments of
    `records.chosen`. `values`: sweeps expanded.
    """
    return _read(values, model, "targets")


def hypernets(values: dict, model: str) -> dict[str, dict]:
    """Trained editor -> the records that it edits, none of which it is trained on, as arguments of `records.chosen`.
    `values`: sweeps expanded.
    """
    return _read(values, model, "hypernet")


def _read(values: dict, model: str, stage: str) -> dict:
    """What a stage makes -> the records that its readers edit: the most first ones, and groups of certain relations."""
    sizes = counts(values, model)
    found = {}
    for artifact, rows in readers(values, model, stage).items():
        first = [sizes[tuple(row.values())] for row in rows if not row["n"].ranks]
        groups = {(sizes[tuple(row.values())], row["n"].ranks) for row in rows if row["n"].ranks}
        found[artifact] = {"count": max(first, default=0)} | (
            {"groups": [[size, list(ranks)] for size, ranks in sorted(groups)]} if groups else {}
        )
    return found


def problems(values: dict) -> Iterator[Problem]:
    """A problem for everything that the items of `paper` ask of methods in vain.

    `values` as written, sweeps not expanded.
    """
    for item, spec in values["paper"].items():
        places = {name: ("paper", item, *place) for name, place in compared(spec).items()}
        if isinstance(spec.get("n"), dict):
            for name in sorted(set(spec["n"]) - set(places)):
                yield Problem(
                    ("paper", item, "n", name), f"`{name}`, which the item does not compare", similar(name, places)
                )
            for name in sorted(set(places) - set(spec["n"])):
                yield Problem(
                    ("paper", item, "n", name), "nothing, the key is missing", f"how many facts `{name}` edits together"
                )
        if "drift" in spec["from"] and not values["edit"]["perplexity"]["passages"]:
            yield Problem(
                ("paper", item, "from"), "drift, with edit.perplexity.passages 0", "at least 1 passage, or no such item"
            )
        if spec["kind"] == "table" and spec.get("texts") == 0 and spec["dataset"] == "counterfact":
            yield Problem(
                ("paper", item, "texts"), "0, for a table with GE and RS", "at least 1: they are metrics of the texts"
            )
        for name, place in places.items():
            if name not in values["methods"]:
                yield Problem(place, f"an unknown method, `{name}`", similar(name, values["methods"]))
                continue
            for model in values["run"]["models"]:
                keys = methods.keys_of(methods.file_of(values, name))
                if keys and model not in methods.blocks_of(values, name):
                    yield Problem(
                        place,
                        f"`{name}`, which has no values for the active model {model}",
                        f"a block methods.{name}.{model}, or the method not listed",
                    )
            yield from _regimes(item, spec, name, methods.regimes(values, name))
            yield from _beyond(values, item, spec, name)


def _beyond(values: dict, item: str, spec: dict, name: str) -> Iterator[Problem]:
    """More facts than a generated world has; how many there are of other sources is known when they are read."""
    here, words = _words(spec, name)
    for model in values["run"]["models"]:
        source = values["sources"].get(values["models"][model]["source"], {})
        most = source["subjects"] * source["relations"] if source.get("kind") == "world" else None
        for n in words:
            if most and FactGroup.parse(n).facts > most:
                yield Problem(
                    ("paper", item, *here), f"{n}, more facts than the world of {model} has", f"at most {most:,}"
                )


def _regimes(item: str, spec: dict, name: str, can: tuple[str, ...]) -> Iterator[Problem]:
    """What a method is asked for and cannot do (REGIMES). Many facts are one call, within which some methods go in
    turn.
    """
    here, words = _words(spec, name)
    for index, n in enumerate(words):
        group, place = FactGroup.parse(n), ("paper", item, *here, *([index] if len(words) > 1 else []))
        facts, batch, of = group.facts, group.batch, group.ranks
        if batch and batch > facts:
            yield Problem(place, f"{n}, a batch of more facts than there are", f"a batch of at most {facts}")
        elif of and (len(of) > facts or len(set(of)) < len(of) or spec["dataset"] == "zsre"):
            yield Problem(
                place,
                f"{n} for {spec['dataset']}",
                "relations, each once and with a fact at least; of zsre none, it has none",
            )
        elif not set(can) & set(("sequential",) if batch else ("single",) if facts == 1 else ("mass", "sequential")):
            yield Problem(
                place,
                f"{n} for `{name}`, which can edit {' or '.join(CAN[word] for word in can)}",
                f"{' or '.join(RIGHT[word] for word in can)}; or `{name}` not listed",
            )
