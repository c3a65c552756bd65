"""CONTRIBUTING's recipe for an editing method, followed in a copy of the repository: one file, one block, a row of a
table.
"""

import re

import pandas as pd
import pytest
import torch
import yaml

from engram.editing import editor, subject_keys
from engram.editing.facts import Fact
from engram.model.delta import applied
from engram.provenance import dvc_lock
from repository import ROOT, module_of
from sandboxes import Sandbox, make_sandbox
from toy import lm

METHOD = '''"""Least change: the smallest one, in the plain norm, that stores a new value under the subject's key."""

from engram.settings.objective import Settings

NEEDS = ("prefixes", "targets")
REGIMES = ("single",)
__all__ = ["NEEDS", "REGIMES", "Settings", "edit"]


def edit(lm, facts, settings, aids):
    """W += (v* - W k) kT / (k.k) for the key k of the bare prompt."""
    from engram.editing import closed_form, subject_keys
    from engram.model.delta import Delta

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
TABLE = f"figures/mini/{ITEM}.csv"


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


@pytest.fixture
def followed(tmp_path) -> Sandbox:
    """A copy of the repository in which the recipe was followed: the file and the block stand where it says."""
    sandbox: Sandbox = make_sandbox(tmp_path / "repo", real=True)
    place = re.search(r"`(\S+/)<name>\.py`", recipe())[1]
    (sandbox.path / place / "least_change.py").write_text(METHOD, encoding="utf-8")
    values = in_small(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")))
    values["methods"]["least-change"] = {"mini": values["methods"]["rome"]["mini"] | {"steps": 5}}
    values["paper"] = {ITEM: values["paper"][ITEM] | {"methods": ["none", "least-change"]}}
    (sandbox.path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return sandbox


def test_a_new_method_is_one_file_one_block_and_a_row(followed):
    """Nothing else changes; the file edits a model, and Snakemake and DVC know of it."""
    assert set(followed.jobs(TABLE)) == {
        "dataset",
        "train",
        "checkpoint",
        "known",
        "prefixes",
        "targets",
        "edit",
        "evaluate",
        "paper_table",
    }
    followed.run("engram", "pipeline")
    values = yaml.safe_load((followed.path / "params.yaml").read_text())
    watched = dvc_lock.stages(followed.path, values)["edit@mini"]["deps"]
    assert any(path.endswith("/methods/least_change.py") for path in watched)
    model, method = lm("gpt2", torch.float64), module_of(next(followed.path.rglob("least_change.py")))
    value = torch.ones(model.width, dtype=torch.float64)
    fact = Fact(0, "Beats Music", "{} is owned by", "chess")
    delta = method.edit(model, [fact], method.Settings(layer=1), editor.Aids(("{}",), {}, {0: value}))
    with applied(model, delta):
        assert torch.allclose(
            subject_keys.fact_keys(model, method.Settings(layer=1), [fact], ["{}"]).value[0], value, atol=1e-9
        )


@pytest.mark.long
def test_a_new_method_goes_through_the_whole_workflow(followed):
    followed.run("snakemake", TABLE, "--cores", "2")
    assert set(pd.read_csv(followed.path / TABLE, keep_default_na=False)["method"]) == {"none", "least-change"}
    scores = {
        name: pd.read_parquet(followed.path / f"results/edit/mini/counterfact/{name}/n1/scores.parquet")
        for name in ("none", "least-change")
    }
    asked = {
        name: frame.set_index(["kind", "target"])["nll"]["rewrite", "new"].mean() for name, frame in scores.items()
    }
    assert asked["least-change"] < asked["none"], "the new object has become likelier"
