"""CONTRIBUTING's recipe for an editing method, followed in a copy of the repository: one file, one block, a row of a
table.
"""

import re

import pandas as pd
import yaml

from repository import ROOT
from sandboxes import Sandbox, make_sandbox

METHOD = '''"""Least change: the smallest one, in the plain norm, that stores a new value under the subject's key."""

from engram.editing import closed_form, subject_keys
from engram.model.delta import Delta
from engram.settings.objective import Settings

NEEDS = ("prefixes", "targets")
REGIMES = ("single",)
__all__ = ["NEEDS", "REGIMES", "Settings", "edit"]


def edit(lm, facts, settings, aids) -> Delta:
    """W += (v* - W k) kT / (k.k) for the key k of the bare prompt."""
    keys = subject_keys.fact_keys(lm, settings, facts, aids.contexts)
    lacking = aids.values_of(facts, keys.value.double()) - keys.value.double()
    share = keys.bare.double() / keys.bare.double().pow(2).sum(1, keepdim=True)
    return Delta({settings.layer: closed_form.part(lacking.T, share.T, keys.value.dtype)})
'''
SMALL = {  # of params.yaml: a world and a model that take seconds
    ("sources", "world"): {"subjects": 20, "relations": 2, "objects": 4, "documents": 120, "articles": 30},
    ("models", "mini"): {"records": {"count": 4, "only_known": False}},
    ("models", "mini", "train"): {
        "width": 32,
        "heads": 2,
        "vocabulary": 420,
        "context": 64,
        "steps": 60,
        "batch": 8,
        "length": 32,
        "rate": 0.01,
        "spread": 0.1,
    },
    ("covariance",): {"articles": 30},
    ("edit",): {"generation_tokens": 30},
    ("run",): {"threads": 1, "threads_of": {}},
}
ITEM = "rome/table4_counterfact"


def in_small(values: dict) -> dict:
    for place, changes in SMALL.items():
        block = values
        for key in place:
            block = block[key]
        block.update(changes)
    return values


def recipe() -> str:
    """The paragraph of CONTRIBUTING.md for an editing method."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return re.search(r"^\* \*\*An editing method\*\*: (.*?)^\* ", text, re.DOTALL | re.MULTILINE)[1]


def test_the_recipe_says_what_the_file_holds():
    words = recipe()
    assert all(
        f"`{name}" in words for name in ("NEEDS", "REGIMES", "Settings", "edit(lm, facts, settings, aids) -> Delta")
    )


def test_a_new_method_is_one_file_one_block_and_a_row(tmp_path):
    """The file and the block stand where the recipe says; nothing else changes, and `dvc repro` of the table knows of
    it.
    """
    sandbox: Sandbox = make_sandbox(tmp_path / "repo", real=True)
    place = re.search(r"`(\S+/)<name>\.py`", recipe())[1]
    (sandbox.path / place / "least_change.py").write_text(METHOD, encoding="utf-8")
    values = in_small(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")))
    values["methods"]["least-change"] = {"mini": values["methods"]["rome"]["mini"] | {"steps": 5}}
    values["paper"] = {ITEM: values["paper"][ITEM] | {"methods": ["none", "least-change"]}}
    (sandbox.path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    table = f"figures/mini/{ITEM}.csv"
    assert set(sandbox.jobs(table)) == {
        "dataset",
        "train",
        "known",
        "prefixes",
        "targets",
        "edit",
        "evaluate",
        "paper_table",
    }
    sandbox.run("snakemake", table, "--cores", "2")
    assert set(pd.read_csv(sandbox.path / table, keep_default_na=False)["method"]) == {"none", "least-change"}
    scores = {
        name: pd.read_parquet(sandbox.path / f"results/edit/mini/counterfact/{name}/n1/scores.parquet")
        for name in ("none", "least-change")
    }
    asked = {
        name: frame.set_index(["kind", "target"])["nll"]["rewrite", "new"].mean() for name, frame in scores.items()
    }
    assert asked["least-change"] < asked["none"], "the new object has become likelier"
    folder = yaml.safe_load((sandbox.path / "dvc.yaml").read_text())["stages"]["edit"]["do"]["deps"]
    assert any(dep.endswith("/methods") for dep in folder), "DVC watches the folder, so a new file needs no line there"
