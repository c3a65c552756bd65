"""A published model, here a folder, beside the one that is trained: run, recorded, checked, one figure made again."""

import copy
import functools
import json

import pytest
import yaml

from engram.provenance import dvc_lock
from sandboxes import Sandbox, small_params

HUB = {
    "hub": "../checkpoint",
    "revision": "main",
    "dtype": "float32",
    "source": "world",
    "trace_window": 2,
    "noise": 0.1,
    "covariance_layers": [0, 1],
    "records": {"count": 20, "only_known": False},
}
READ = ("rome/fig2_average_traces", "rome/fig13_noise_kinds", "rome/table4_counterfact")  # items of the published one
LOADED = {f"{stage}@published" for stage in ("known", "noise", "prefixes", "covariance", "trace", "targets", "edit")}


def with_published(values: dict) -> dict:
    """The contents of params.yaml with a second model, `published`, of which three items are made."""
    values["run"]["models"] = ["mini", "published"]
    values["models"]["published"] = HUB
    values["methods"]["rome"]["published"] = dict(values["methods"]["rome"]["mini"])
    for item, spec in values["paper"].items():
        spec |= {} if item in READ else {"models": [name for name in values["models"] if name != "published"]}
    values["paper"]["rome/table4_counterfact"]["for"] = {"published": {"methods": ["none", "rome"]}}
    return values


def write(sandbox: Sandbox, values: dict) -> None:
    (sandbox.path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def changed(sandbox: Sandbox) -> set[str]:
    """The stages whose settings DVC finds changed."""
    found = json.loads(sandbox.run("dvc", "status", "--json").stdout.splitlines()[-1])
    return {name for name, lines in found.items() if "params.yaml" in json.dumps(lines) and name != "params"}


@pytest.fixture
def both(sandbox) -> Sandbox:
    """A sandbox after a run of both models, recorded."""
    write(sandbox, with_published(yaml.safe_load(small_params())))
    (sandbox.path.parent / "checkpoint").mkdir()
    sandbox.run("snakemake", "--cores", "2")
    assert "written anew" in sandbox.run("engram", "record").stdout
    return sandbox


def test_a_published_model_beside_a_trained_one(both):
    values = yaml.safe_load((both.path / "params.yaml").read_text())
    stages = dvc_lock.stages(both.path, values)
    assert "train@mini" in stages and "train@published" not in stages
    for name in (name for name in stages if name.endswith("@published")):
        assert "results/train/published" not in stages[name]["deps"]
        assert not [key for key in stages[name]["params"] if "mini" in key.split(".") or key.endswith("train")], name
    for key in ("hub", "revision", "dtype"):
        assert {name for name, stage in stages.items() if f"models.published.{key}" in stage["params"]} == LOADED
    assert both.jobs() == {}
    both.run("engram", "audit", "--failed")
    picture = both.path / "figures/published/rome/fig2_average_traces.png"
    before = picture.read_bytes()
    picture.unlink()
    both.run("dvc", "repro", "rome-fig2_average_traces@published")
    assert picture.read_bytes() == before and "up to date" in both.run("dvc", "status").stdout
    for place, new, right in (
        (("models", "published", "dtype"), "bfloat16", LOADED),
        (("methods", "rome", "published", "kl_factor"), 0.9, {"targets@published", "edit@published"}),
    ):
        write(both, with_value(values, place, new))
        assert changed(both) == right
    write(both, with_value(values, ("models", "published", "devices"), "auto"))  # was not there: DVC cannot watch it
    asked = both.run("dvc", "repro", "known@published", ok=False).stdout
    assert "dvc.yaml was of other params: it is written anew" in asked
    assert "models.published.devices" in dvc_lock.stages(both.path, values)["known@published"]["params"]


def with_value(values: dict, place: tuple[str, ...], new: object) -> dict:
    """A copy of the contents of params.yaml with another value at one place."""
    values = copy.deepcopy(values)
    *way, last = place
    functools.reduce(dict.__getitem__, way, values)[last] = new
    return values
