"""The stages of the workflow, and which files each of them makes for one model: those that the items of `paper` read,
and those that these are made from. Pure functions on the contents of the parameter file.
"""

from typing import NamedTuple

from engram.settings import edits, methods, original_files, trace_variants
from engram.settings.sources import OWN

STAGES = (  # in the order of the data
    *("fetch", "dataset", "train", "convert", "checkpoint", "sampled", "known", "noise", "prefixes", "covariance"),
    *("trace", "gradients", "targets", "hypernet", "edit", "evaluate", "paper"),
)


class Read(NamedTuple):
    """What one word of an item's `from` stands for: a stage, and of its rule's outputs the name of each by the flag
    that the item's script has for it.
    """

    stage: str
    files: dict[str, str]


READ = {  # the words of `from`; `published` is not among them: git keeps that file, no stage makes it
    "dataset": Read("dataset", {"facts": "facts"}),
    "zsre": Read("dataset", {"zsre": "zsre"}),
    "trace": Read("trace", {"effects": "effects", "traced": "traced"}),
    "gradients": Read("gradients", {"attributions": "attributions", "attributed": "attributed"}),
    "edit": Read("edit", {"texts": "texts"}),
    "norms": Read("edit", {"norms": "norms"}),
    "drift": Read("edit", {"drift": "drift"}),
    "evaluate": Read("evaluate", {"summaries": "summary"}),
    "records": Read("evaluate", {"records": "records"}),
}


def read_by(spec: dict) -> set[str]:
    """The stages whose files one entry of `paper` reads."""
    return {READ[word].stage for word in spec["from"] if word in READ}


def wanted(values: dict, model: str) -> dict[str, list[dict[str, str]]]:
    """Stage -> the wildcards, but for `model`, of each of its jobs; a stage without jobs is not there.

    `values`: the parameter file as the model sees it (items.seen), sweeps expanded.
    """
    paper = values["paper"]
    read = {stage for spec in paper.values() for stage in read_by(spec)}
    edited = edits.wanted(values)
    evaluated = edits.wanted(
        values | {"paper": {item: spec for item, spec in paper.items() if "evaluate" in read_by(spec)}}
    )
    needs = {need for row in edited for need in methods.needs(values, row["method"])}
    variants = trace_variants.wanted(values)
    with_model = bool(edited or variants)
    block = values["models"][model]
    once = {
        "dataset": bool(read),
        "train": with_model and "train" in block,
        "convert": with_model and converted(block),
        "checkpoint": with_model,
        "sampled": with_model and writes_text(values, model),
        "known": with_model,
        "prefixes": bool({"prefixes", "targets"} & needs),
        "covariance": "covariance" in needs,
        "gradients": "gradients" in read,
    }
    rows = {
        "fetch": [{"name": name} for name in _originals(values, model, evaluated)] if read else [],
        "noise": [{"corruption": name} for name in trace_variants.rules(values, model, variants)],
        "trace": [{"variant": name} for name in variants],
        "targets": [{"dataset": dataset, "family": family} for dataset, family in edits.targets(values, model)],
        "hypernet": [{"name": name} for name in edits.hypernets(values, model)],
        "edit": edited,
        "evaluate": evaluated,
        "paper": [dict(zip(("paper", "item"), item.split("/"))) for item in paper],
    }
    jobs = rows | {stage: [{}] if made else [] for stage, made in once.items()}
    return {stage: jobs[stage] for stage in STAGES if jobs[stage]}


def converted(block: dict) -> bool:
    """Whether the checkpoint of a model's block is none that is loaded as it lies: stage `convert` makes one of it."""
    return "gguf" in block or block.get("convert", False)


def writes_text(values: dict, model: str) -> bool:
    """Whether the text for second moments and held-out passages is the model's own, made by stage `sampled`."""
    return values["sources"][values["models"][model]["source"]].get("text") == OWN


def _originals(values: dict, model: str, evaluated: list[dict]) -> list[str]:
    """The original files that the jobs of a model read: those of its source and of published editors. The tables of
    TF-IDF are read where texts are evaluated, which are CounterFact's.
    """
    source = original_files.source_files(values["sources"][values["models"][model]["source"]])
    texts = any(row["dataset"] == "counterfact" for row in evaluated)
    unread = {path.name for key, path in source.items() if key not in original_files.TABLES and not texts}
    return [name for name in original_files.wanted(values, model, original_files.FOLDER) if name not in unread]
