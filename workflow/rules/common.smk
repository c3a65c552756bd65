"""Helpers shared by the rules: what is active, the slice of params.yaml a job gets, the files a job reads."""

import os
import re
import sys
from functools import cache, partial
from pathlib import Path

from engram.machine import liveness
from engram.settings import (checkpoint_files, edits, execution, families, items, methods, original_files, params,
                             slices, stages, sweeps, trace_variants)
from engram.settings.fact_groups import PATTERN, FactGroup
from engram.job import code_digest
from engram.job.lineage import record_path

os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # jobs run under this Python
os.environ.update(execution.exported(config))  # how they work, which is no part of their settings

liveness.enter()


onstart:
    liveness.writable(("data", "results", "figures", "logs"))


MODELS, PAPER = config["run"]["models"], config["paper"]
RECORDS = {"counterfact": "facts", "zsre": "zsre"}  # datasets to edit -> table of stages dataset, known
PUBLISHED = "data/published.csv"  # what the papers print; git keeps it
WORDINGS = "data/wordings.csv"  # how relations are asked in the other order; git keeps it
GPU = int(config["run"]["device"] != "cpu" and Path("/dev/nvidiactl").exists())  # a job with a model needs the only one


@cache
def seen(model):
    """params.yaml as one model sees it: its items, and every point of their sweeps a method as any other."""
    return sweeps.expanded(items.seen(config, model))


def one_of(words):
    return "|".join(map(re.escape, words)) or "(?!)"  # no words: matches nothing


METHODS = [*config["methods"], *dict.fromkeys(name for model in MODELS for name in sweeps.swept(seen(model)))]


wildcard_constraints:
    model=one_of(config["models"]),
    dataset=one_of(RECORDS),
    variant=one_of(config["trace"]["variants"]),
    corruption=one_of(name for model in config["models"]
                      for name in trace_variants.rules(config, model, config["trace"]["variants"])),
    method=one_of(METHODS),
    family=one_of(METHODS),
    n=PATTERN,


threads_of, slice_of = partial(slices.threads_of, config), partial(slices.slice_of, config)
Derived = slices.Derived


def records_of(wc):
    """The records of a dataset, and which of them the model answers correctly."""
    name = RECORDS[wc.dataset]
    files = {"facts": rules.dataset.output[name], "known_facts": rules.known.output[f"known_{name}"]}
    return {flag: path.format(**wc) for flag, path in files.items()}


def aids_of(wc):
    """The artifacts that an editing method reads, as its NEEDS declare."""
    values = seen(wc.model)
    files = [item for need in methods.needs(values, wc.method) for item in getattr(rules, need).output.items()]
    keys = dict(wc.items()) | {"family": families.family_of(values, wc.method, wc.model),
                               "name": sweeps.swept(values).get(wc.method, wc.method)}
    return {name: path.format(**keys) for name, path in files if name not in ("steps", "loss")}


def flags(*names):
    """Input flags of a script, for those of `names` (all, if none is given) that the job has."""
    return lambda wc, input: [
        word for name, value in input.items() if name in (names or input.keys())
        for word in (f"--{name.replace('_', '-')}", *([value] if isinstance(value, str) else value))]


@cache
def digest_of(*roots):
    return code_digest.digest(code_digest.files(*roots))


def code_of(script, method=None):
    """Digest of the code that a job runs; comments and docstrings do not count. `method`: the wildcard of one."""
    return lambda wc: digest_of(*code_digest.roots_of(
        f"workflow/{script.format(**wc)}.py", families.named(seen(wc.model), wc[method]) if method else None))


@cache
def wanted(model):
    """Stage -> wildcards of each of its jobs: what the items of a model read, and what that is made from."""
    return stages.wanted(seen(model), model)


def files_of(stage, model, **only):
    """Everything a stage makes for one model, records of lineage included; `only` what has these wildcards."""
    rows = [row for row in wanted(model).get(stage, []) if row.items() >= only.items()]
    return [path.format(model=model, **row) for row in rows for path in OUTPUTS[rule_of(stage, model, row)]]


def rule_of(stage, model, row):
    """The name of the rule of a job: that of its stage; of an item, by its kind."""
    return f"paper_{seen(model)['paper']['/'.join(row.values())]['kind']}" if stage == "paper" else stage
