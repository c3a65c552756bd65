"""A published model, here a folder, beside the one that is trained: run, recorded, checked, one figure made again."""

import copy
import functools
import json
import os
import re

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
STAGES = ("checkpoint", "known", "noise", "prefixes", "covariance", "trace", "targets", "edit")
LOADED = {f"{stage}@published" for stage in STAGES}
WEIGHTS = "../checkpoint/model.safetensors"


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
    for name in ("model.safetensors", "config.json", "README.md"):
        (sandbox.path.parent / "checkpoint" / name).write_text(name)
    run_beside(sandbox)
    write(sandbox, with_published(yaml.safe_load(small_params())))
    sandbox.run("engram", "record")
    return sandbox


def run_beside(sandbox: Sandbox) -> None:
    """`make real`: the run of a model that `run.real` lists, by a variable alone, beside that of `run.models`."""
    values = with_published(yaml.safe_load(small_params()))
    write(sandbox, with_value(with_value(values, ("run", "models"), ["mini"]), ("run", "real"), ["published"]))
    before = dvc_lock.read(sandbox.path / "dvc.lock")["stages"]
    overlay = ("env", "ENGRAM_MODELS=real")
    sandbox.run("snakemake", "--cores", "2")  # of mini, table 4 alone: its line is another
    done = sandbox.run(*overlay, "snakemake", "--cores", "2").stdout
    assert "known/published" in done and "known/mini" not in done
    assert "written anew" in sandbox.run(*overlay, "engram", "record").stdout
    after = dvc_lock.read(sandbox.path / "dvc.lock")["stages"]
    assert "known@published" in after and after["known@mini"] == before["known@mini"], "those of others are left alone"
    sandbox.run(*overlay, "engram", "status")
    sandbox.run(*overlay, "engram", "audit", "--failed")
    assert "trace@published" in sandbox.run(*overlay, "engram", "stages").stdout.split()
    assert "trace@published" not in sandbox.run("engram", "stages").stdout.split()


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
    held = [path for path in stages["checkpoint@published"]["deps"] if path.startswith("../checkpoint")]
    assert held == ["../checkpoint/config.json", WEIGHTS], "what is loaded, and no other file"
    exchange_the_weights(both)
    convert_another(both, values)
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


def exchange_the_weights(both: Sandbox) -> None:
    """Other weights under the same name, of the same size, with an older date: noticed, and all is made anew."""
    file, made = both.path / WEIGHTS, both.path / "results/checkpoint/published/manifest.json"
    before = made.read_bytes()
    file.write_text(file.read_text().replace("safe", "evil"))
    os.utime(file, (10**9, 10**9))
    planned = both.jobs()
    assert planned["checkpoint"] == 1 and {name.split("@")[0] for name in LOADED} <= set(planned)
    assert "train" not in planned
    said = both.run("engram", "audit", ok=False).stdout
    assert re.search(rf"input changed  results/checkpoint/published/manifest\.json +{re.escape(WEIGHTS)}", said)
    known = both.path / "results/known/published/facts.parquet"
    old = known.read_bytes()
    both.run("snakemake", "--cores", "2", "known@published")
    assert made.read_bytes() != before and known.read_bytes() != old
    assert not {"checkpoint", "known"} & set(both.jobs())


def convert_another(both: Sandbox, values: dict) -> None:
    """A GGUF file is a model of dvc.yaml by way of a stage of its own."""
    (both.path.parent / "x.gguf").write_text("x")
    packed = {key: value for key, value in HUB.items() if key not in ("hub", "revision")} | {"gguf": "../x.gguf"}
    changed = with_value(values, ("models", "packed"), packed)
    changed["run"]["models"] = ["packed"]
    changed["paper"] = {READ[0]: {key: value for key, value in values["paper"][READ[0]].items() if key != "models"}}
    write(both, changed)
    before = (both.path / "dvc.yaml").read_text()
    both.run("engram", "pipeline")
    found = {
        name: stage.get("do") for name, stage in yaml.safe_load((both.path / "dvc.yaml").read_text())["stages"].items()
    }
    assert "../x.gguf" in found["convert"]["deps"] and "results/convert/${item}" in found["checkpoint"]["deps"]
    assert "models.${item}.gguf" in found["convert"]["params"] and "train" not in found
    write(both, values)
    (both.path / "dvc.yaml").write_text(before)


def with_value(values: dict, place: tuple[str, ...], new: object) -> dict:
    """A copy of the contents of params.yaml with another value at one place."""
    values = copy.deepcopy(values)
    *way, last = place
    functools.reduce(dict.__getitem__, way, values)[last] = new
    return values
