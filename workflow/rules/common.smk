"""Helpers shared by the rules: what is active, the slice of params.yaml a job gets, the files a job reads."""

import json
import os
import re
import sys
from pathlib import Path

from engram.lineage import code_digest, code_roots
from engram.params import needs_of

os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # jobs run under this Python

MODELS = config["run"]["models"]
PAPER = config["paper"]
STAGES = [
    "dataset", "train", "known", "noise", "prefixes", "covariance", "trace", "targets", "edit", "evaluate", "paper"
]
ITEM_TABLES = {  # what an item of a paper reads `from` a stage: flag of its script -> output of the rule
    "dataset": {"facts": "facts"},
    "trace": {"effects": "effects", "traced": "traced"},
    "edit": {"texts": "texts"},
    "evaluate": {"summaries": "summary"},
}


def edits_of(spec):
    """The edited models that one paper item compares, as wildcards of stages `edit` and `evaluate`."""
    return [{"dataset": spec["dataset"], "method": name, "n": spec["n"]} for name in spec.get("methods", [])]


def distinct(rows):
    return [dict(row) for row in dict.fromkeys(tuple(row.items()) for row in rows)]


EDITS = distinct(edit for spec in PAPER.values() for edit in edits_of(spec))
TARGETS = distinct(
    {"dataset": edit["dataset"], "family": edit["method"]} for edit in EDITS if "targets" in needs_of(edit["method"])
)


def one_of(words):
    """A wildcard constraint that matches these words and nothing else."""
    return "|".join(map(re.escape, words)) or "(?!)"


wildcard_constraints:
    model=one_of(config["models"]),
    dataset="counterfact",
    method=one_of(config["methods"]),
    family=one_of(config["methods"]),
    n=r"\d+",


def slice_of(stage, model, *keys, torch=True, **more):
    """The part of params.yaml one job depends on, as JSON.

    `keys` are the keys of the model's block that the stage reads; hub and revision come along where they exist.
    """
    block = config["models"][model]
    found = {"seed": config["seed"], "model": {"name": model}}
    if torch:
        found["run"] = {key: value for key, value in config["run"].items() if key != "models"}
        keys += ("hub", "revision")
    found["model"] |= {key: block[key] for key in keys if key in block}
    if stage in config and stage != "paper":
        found[stage] = config[stage]
    return json.dumps(found | more)


def hyperparameters(method, model):
    return config["methods"][method].get(model, {})


def item_slice(item, model):
    """slice_of one paper item: its options and, where it shows traces, the width of the window."""
    keys = ["trace_window"] if "trace" in PAPER[item]["from"] else []
    return slice_of("paper", model, *keys, torch=False, paper=PAPER[item].get("options", {}))


def source_of(model):
    """The source block of a model, with its name."""
    name = config["models"][model]["source"]
    return {"name": name} | config["sources"][name]


def raw_files(wc):
    """The original files of a source of kind `folder`; none for a generated one."""
    source = source_of(wc.model)
    return [Path(source["path"], source[key]) for key in ("facts", "zsre", "prompts", "text") if "path" in source]


def checkpoint(wc):
    """The files of a model that is trained here; none for a model of the hub."""
    if "train" not in config["models"][wc.model]:
        return {}
    return {name: path.format(model=wc.model) for name, path in rules.train.output.items() if name != "loss"}


def aids_of(wc):
    """The artifacts that an editing method reads, as its NEEDS declare."""
    tables = {"prefixes": rules.prefixes.output, "covariance": rules.covariance.output, "targets": rules.targets.output}
    needs = [item for need in needs_of(wc.method) for item in tables[need].items() if item[0] != "steps"]
    return {name: path.format(**wc, family=wc.method) for name, path in needs}


def tables_of(wc):
    """The tables that one paper item reads, as its `paper:` entry declares."""
    spec = PAPER[wc.item]
    return {
        flag: expand(getattr(rules, stage).output[name], zip, **columns(stage, spec, wc.model))
        for stage in spec["from"]
        for flag, name in ITEM_TABLES[stage].items()
    }


def columns(stage, spec, model):
    """The wildcards of a stage's files, one list per wildcard."""
    rows = [{"model": model} | edit for edit in (edits_of(spec) if stage in ("edit", "evaluate") else [{}])]
    return {key: [row[key] for row in rows] for key in rows[0]}


def code_of(stage):
    """Digest of the code that a job runs; comments and docstrings do not count."""
    return lambda wc: code_digest(*code_roots(f"workflow/{stage.format(**wc)}.py", dict(wc.items())))


def flags(*names):
    """Input flags of a script, for those of `names` (all, if none is given) that the job has."""

    def words(wc, input):
        for name, value in input.items():
            if name in (names or input.keys()):
                yield f"--{name.replace('_', '-')}"
                yield from [value] if isinstance(value, str) else value

    return lambda wc, input: list(words(wc, input))


def files_of(stage, model):
    """Everything a stage makes for one model."""
    if stage == "train" and "train" not in config["models"][model]:
        return []
    if stage == "paper":
        outputs = [(getattr(rules, f"paper_{spec['kind']}").output, {"item": item}) for item, spec in PAPER.items()]
    else:
        rows = {"targets": TARGETS, "edit": EDITS, "evaluate": EDITS}.get(stage, [{}])
        outputs = [(getattr(rules, stage).output, row) for row in rows]
    return [path.format(model=model, **row) for output, row in outputs for path in output]
