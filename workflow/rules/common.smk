"""Helpers shared by the rules: what is active, the slice of params.yaml a job gets, the files a job reads."""

import json
import os
import re
import sys
from pathlib import Path

from engram import edits, families, hyperparameters, sweeps, variants
from engram.lineage import code_digest, code_roots

os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # jobs run under this Python

config["methods"].update(sweeps.blocks(config))  # from here on, a point of a sweep is a method as any other
MODELS, PAPER, EDITS, SWEPT = config["run"]["models"], config["paper"], edits.wanted(config), sweeps.swept(config)
STAGES = "dataset train known noise prefixes covariance trace targets hypernet edit evaluate paper".split()
RECORDS = {"counterfact": "facts", "zsre": "zsre"}  # datasets to edit -> table of stages dataset, known
ITEM_TABLES = {  # what an item of a paper reads `from` a stage: flag of its script -> output of the rule
    "dataset": {"facts": "facts"},
    "trace": {"effects": "effects", "traced": "traced"},
    "edit": {"texts": "texts"},
    "evaluate": {"summaries": "summary"},
}


def one_of(words):
    return "|".join(map(re.escape, words)) or "(?!)"  # no words: matches nothing


wildcard_constraints:
    model=one_of(config["models"]),
    dataset=one_of(RECORDS),
    variant=one_of(config["trace"]["variants"]),
    corruption=one_of(name for model in config["models"] for name in variants.rules(config, model)),
    method=one_of(config["methods"]),
    family=one_of(config["methods"]),
    n=r"\d+(by\d+)?",


def slice_of(stage, model, *keys, torch=True, count=None, **more):
    """The part of params.yaml one job depends on, as JSON: seed, section, and `keys` of the model's block.

    A stage with a model also depends on how torch runs, on what is loaded and how. `count`: how many records are
    edited, where that is not the model's number.
    """
    run = {key: value for key, value in config["run"].items() if key != "models"}
    keys += ("hub", "revision", "dtype", "devices") if torch and stage != "train" else ()
    block = {key: config["models"][model][key] for key in keys if key in config["models"][model]}
    if count:
        block["records"] = block["records"] | {"count": count}
    found = {"seed": config["seed"], "model": {"name": model} | block} | ({"run": run} if torch else {})
    return json.dumps(found | ({stage: config[stage]} if stage in config else {}) | more)


def source_of(wc):
    """The source block of a model, with its name."""
    name = config["models"][wc.model]["source"]
    return {"name": name} | config["sources"][name]


def raw_files(wc):
    """The original files of a source of kind `folder`; none for a generated one."""
    source = source_of(wc)
    return [Path(source["path"], source[key]) for key in ("facts", "zsre", "prompts", "text") if "path" in source]


def checkpoint(wc):
    """The files of a model that is trained here; none for a published one."""
    files = rules.train.output.items() if "train" in config["models"][wc.model] else []
    return {name: path.format(**wc) for name, path in files if name != "loss"}


def records_of(wc):
    """The records of a dataset, and which of them the model answers correctly."""
    name = RECORDS[wc.dataset]
    files = {"facts": rules.dataset.output[name], "known_facts": rules.known.output[f"known_{name}"]}
    return {flag: path.format(**wc) for flag, path in files.items()}


def aids_of(wc):
    """The artifacts that an editing method reads, as its NEEDS declare."""
    files = [item for need in hyperparameters.needs(config, wc.method) for item in getattr(rules, need).output.items()]
    keys = dict(wc.items()) | {
        "family": families.family_of(config, wc.method, wc.model), "name": SWEPT.get(wc.method, wc.method)}
    return {name: path.format(**keys) for name, path in files if name not in ("steps", "loss")}


def flags(*names):
    """Input flags of a script, for those of `names` (all, if none is given) that the job has."""
    return lambda wc, input: [
        word for name, value in input.items() if name in (names or input.keys())
        for word in (f"--{name.replace('_', '-')}", *([value] if isinstance(value, str) else value))]


def code_of(script, method=None):
    """Digest of the code that a job runs; comments and docstrings do not count. `method`: the wildcard of one."""
    return lambda wc: code_digest(*code_roots(
        f"workflow/{script.format(**wc)}.py", families.named(config, wc[method] if method else None)))


def files_of(stage, model):
    """Everything a stage makes for one model."""
    if stage == "train" and "train" not in config["models"][model]:
        return []
    traces = [{"variant": name} for name in config["trace"]["variants"]]
    corruptions = [{"corruption": name} for name in variants.rules(config, model)]
    targets = [{"dataset": dataset, "family": family} for dataset, family in edits.targets(config, model)]
    rows = {"noise": corruptions, "trace": traces, "targets": targets, "edit": EDITS, "evaluate": EDITS,
            "hypernet": [{"name": name} for name in edits.hypernets(config, model)]}
    rows = rows.get(stage, [{}])
    outputs = [(getattr(rules, stage).output, row) for row in rows] if stage != "paper" else [
        (getattr(rules, f"paper_{spec['kind']}").output, {"item": item}) for item, spec in PAPER.items()]
    return [path.format(model=model, **row) for output, row in outputs for path in output]
