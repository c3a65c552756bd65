"""DVC remembers what Snakemake made: dvc.yaml says the same as the rules, and both stay clean together."""

import csv
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

from engram.job import lineage
from engram.provenance import dvc_yaml, record_run
from engram.settings import edits, items, params
from repository import ROOT
from sandboxes import Sandbox, remembered, restore, small_params, stages

PARAMS = yaml.safe_load(small_params())
SEEN = items.seen(PARAMS, "mini")
PIPELINE = yaml.safe_load(dvc_yaml.text(PARAMS, ROOT))
STAGES = {name: block["do"] for name, block in PIPELINE["stages"].items() if name != "params"}
ITEMS = {item.replace("/", "-"): item for item in PARAMS["paper"]}
METRICS = """  beyond/metrics: {kind: metrics, from: [trace, evaluate], dataset: counterfact, methods: [none, rome], n: 1}
"""
METHODS = sorted((ROOT / "workflow/lib/engram/methods").glob("[!_]*.py"))


def resolved(text: str) -> str:
    return text.replace("${item}", "mini").replace("${lib}", PIPELINE["vars"][0]["lib"])


def outs(name: str) -> dict[str, dict]:
    return {resolved(path): flags for entry in STAGES[name]["outs"] for path, flags in entry.items()}


def deps(name: str) -> set[str]:
    return {resolved(path) for path in STAGES[name]["deps"]}


def files_in(folder: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob("*.py")}


def script(name: str) -> str:
    return f"workflow/figures/{ITEMS[name]}.py" if name in ITEMS else f"workflow/scripts/{name}.py"


def test_one_stage_per_word_and_per_item():
    words = stages()
    assert list(STAGES) == [*(word for word in remembered(words, PARAMS) if word != "paper"), *ITEMS]
    assert all(block["foreach"] == "${run.models}" for name, block in PIPELINE["stages"].items() if name != "params")


@pytest.mark.parametrize("name", STAGES)
def test_commands_and_outs(name, built):
    """A stage asks Snakemake for what it declares: every file there belongs to it, with its record."""
    command = resolved(STAGES[name]["cmd"]).removeprefix("PATH=.venv/bin:$PATH snakemake --cores all ")
    if name in ITEMS:
        suffixes = dvc_yaml.SUFFIXES[PARAMS["paper"][ITEMS[name]]["kind"]]
        files = [Path(f"figures/mini/{ITEMS[name]}.{suffix}") for suffix in suffixes]
        assert command == str(files[0])
        assert set(outs(name)) == {str(path) for file in files for path in (file, lineage.record_path(file))}
        assert set(map(str, outs(name).values())) == {str({"cache": False, "persist": True})}, "tracked by git"
    else:
        assert command == f"{name}@mini"
        assert outs(name) == {("data/mini" if name == "dataset" else f"results/{name}/mini"): {"persist": True}}
    assert all((built.path / path).exists() for path in outs(name))


def test_every_artifact_is_an_out(built):
    covered = [Path(path) for name in STAGES for path in outs(name)] + [Path("results/params")]
    for folder in ("data", "results", "figures"):
        for path in (built.path / folder).rglob("*"):
            place = path.relative_to(built.path)
            kept = place in (Path("data/published.csv"), Path("data/wordings.csv"))  # by git
            assert not path.is_file() or kept or any(place.is_relative_to(out) for out in covered), place


@pytest.mark.parametrize("name", STAGES)
def test_deps_are_the_code_and_the_inputs(name, built):
    """Exactly the files of the code digest, and every folder or file that an artifact's record names as input."""
    methods = METHODS if name in ("targets", "edit") else []
    files = lineage.code_files(str(ROOT / script(name)), *map(str, methods))
    code = {
        path.relative_to(ROOT).as_posix() for path, text in files if not text.startswith("Module(body=[Pass()]")
    }  # not a file with a docstring alone
    named = {path for path in deps(name) if path.startswith("workflow/")}
    declared = set().union(*({path} if path.endswith(".py") else files_in(path) for path in named))
    assert declared == code, f"{name}: add {sorted(code - declared)}, remove {sorted(declared - code)}"
    inputs = set()
    for out in outs(name):
        for path in (built.path / out).rglob(".lineage/*.json") if (built.path / out).is_dir() else [built.path / out]:
            if path.parent.name == ".lineage":
                inputs |= {one["path"] for one in json.loads(path.read_text())["inputs"]}
    folders = deps(name) - named
    assert "results/params/valid.json" in folders
    assert all(any(Path(path).is_relative_to(folder) for folder in folders) for path in inputs), inputs


@pytest.mark.parametrize("name", STAGES)
def test_params_cover_the_slice(name, built):
    """Every key that a job's slice holds is under a key that the DVC stage watches."""
    watched = [resolved(key) for key in STAGES[name]["params"]]
    out = next(iter(outs(name)))
    folder = built.path / (Path(out) if name not in ITEMS else Path(out).parent)
    pattern = ".lineage/*.json" if name not in ITEMS else f".lineage/{Path(ITEMS[name]).name}.*.json"
    found = json.loads(next(folder.rglob(pattern)).read_text())["params"]
    model = found.pop("model")
    keys = [f"run.{key}" for key in found.pop("run", {})] + [f"models.mini.{key}" for key in model if key != "name"]
    item = f"paper.{ITEMS.get(name)}"
    names = {
        "source": "sources",
        "method": "methods",
        "paper": item,
        "points": item,
        "texts": "paper",
        "variants": "trace",
    }
    keys += [names.get(key, key) for key, value in found.items() if value not in ({}, None)]
    assert all(any(key == one or key.startswith(f"{one}.") for one in watched) for key in keys), (keys, watched)
    assert all(one.split(".")[0] in PARAMS for one in watched)


def test_a_finished_run_is_clean(built):
    """After a run and `engram record`: nothing to do for Snakemake or DVC, nothing but results in git."""
    assert built.jobs() == {}
    assert "up to date" in built.run("dvc", "status").stdout
    assert {line[3:] for line in built.git("status", "--short").splitlines()} == {
        "dvc.lock",
        "figures/",
        "ledger.jsonl",
    }
    assert "as recorded before" in built.run("engram", "record").stdout


def test_one_figure_with_what_lies_upstream_and_nothing_else(sandbox):
    sandbox.edit("params.yaml", "samples: 10", "samples: 11")
    sandbox.edit("params.yaml", "generation_tokens: 100", "generation_tokens: 90")
    text = sandbox.run("dvc", "repro", "rome-fig2_average_traces@mini").stdout
    assert re.findall(r"Running stage '(.*)'", text) == ["params", "trace@mini", "rome-fig2_average_traces@mini"]
    figures = sum(
        spec["kind"] == "figure" and not {*spec["from"]} <= {"dataset", "zsre"} for spec in PARAMS["paper"].values()
    )
    edited = len(edits.wanted(SEEN))
    assert sandbox.jobs() == {
        "gradients": 1,
        "edit": edited,
        "evaluate": edited,
        "paper_figure": figures - 1,
        "paper_table": sum(spec["kind"] == "table" for spec in PARAMS["paper"].values()),
    }
    refused = sandbox.run("engram", "record", ok=False).stdout
    assert "nothing recorded" in refused and "input changed  figures/mini/rome/fig7_lines.pdf" in refused
    sandbox.edit("params.yaml", "generation_tokens: 90", "generation_tokens: 100")
    text = sandbox.run("dvc", "repro", "rome-fig7_lines@mini").stdout
    assert re.findall(r"Running stage '(.*)'", text) == ["params", "rome-fig7_lines@mini"]
    sandbox.run("snakemake", "--cores", "2")
    sandbox.run("engram", "record")
    assert sandbox.jobs() == {} and "up to date" in sandbox.run("dvc", "status").stdout
    sandbox.run("engram", "audit")


def test_push_pull_and_restore(sandbox, tmp_path):
    """A fresh clone gets the artifacts from a folder, verifies them, and then has nothing to do."""
    sandbox.git("add", "--all")
    sandbox.git("commit", "--quiet", "--message", "run")
    sandbox.run("dvc", "remote", "add", "--local", "--default", "folder", tmp_path / "store")
    sandbox.run("dvc", "push")
    sandbox.git("clone", "--quiet", ".", tmp_path / "clone")
    clone = Sandbox(tmp_path / "clone")
    clone.run("dvc", "remote", "add", "--local", "--default", "folder", tmp_path / "store")
    restore(clone)
    shown = clone.run("engram", "lineage", "figures/mini/rome/fig2_average_traces.pdf").stdout
    assert f"commit {sandbox.git('rev-parse', 'HEAD~1')[:12]}" in shown and "verified: 16 artifacts" in shown
    assert clone.jobs() == {} and clone.git("status", "--short") == ""
    clone.edit("params.yaml", "samples: 10", "samples: 11")
    traced = Counter(
        f"paper_{spec['kind']}" for spec in PARAMS["paper"].values() if {"trace", "gradients"} & {*spec["from"]}
    )
    assert clone.jobs() == {"trace": 5, "gradients": 1, **traced}, "params are remembered as after a run"


def test_differences_from_the_committed_lock():
    """Other bytes from the same settings and code, and what follows from them, are rebuilt; the rest has changed."""

    def stage(out, *inputs, params=1):
        return {
            "deps": [{"path": path, "md5": md5} for path, md5 in inputs],
            "outs": [{"path": out[0], "md5": out[1]}],
            "params": {"params.yaml": {"seed": params}},
        }

    before = {
        "train@mini": stage(("results/train/mini", "a"), ("workflow/train.py", "c")),
        "trace@mini": stage(("results/trace/mini", "a"), ("results/train/mini", "a")),
        "known@mini": stage(("results/known/mini", "a"), ("results/train/mini", "a")),
        "edit@mini": stage(("results/edit/mini", "a"), ("results/train/mini", "a"), ("workflow/edit.py", "c")),
        "figure@mini": stage(("figures/mini/x.pdf", "a"), ("results/edit/mini", "a")),
    }
    assert record_run.differences(before, before) == record_run.differences({}, before) == []
    after = {
        "figure@mini": stage(("figures/mini/x.pdf", "b"), ("results/edit/mini", "b")),
        "edit@mini": stage(("results/edit/mini", "b"), ("results/train/mini", "b"), ("workflow/edit.py", "d")),
        "known@mini": stage(("results/known/mini", "a"), ("results/train/mini", "b")),
        "trace@mini": stage(("results/trace/mini", "b"), ("results/train/mini", "b")),
        "train@mini": stage(("results/train/mini", "b"), ("workflow/train.py", "c")),
    }
    lines = dict(line.split(": ", 1) for line in record_run.differences(before, after))
    rebuilt = "rebuilt here, differs from the committed lock (same settings and code, other bytes)"
    assert lines == {
        "train@mini": rebuilt,
        "trace@mini": rebuilt,
        "edit@mini": "changed with workflow/edit.py",
        "figure@mini": "changed with results/edit/mini",
    }
    reseeded = stage(("results/train/mini", "b"), ("workflow/train.py", "c"), params=2)
    assert record_run.differences(before, before | {"train@mini": reseeded}) == ["train@mini: changed with params"]


def test_the_file_is_what_the_code_says():
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert dvc_yaml.text(values, ROOT) == (ROOT / "dvc.yaml").read_text(), "run `engram pipeline`"


def test_a_new_item_is_a_stage(sandbox):
    """One file and one line under `paper:`: `engram record` writes its stage, and without methods that read them no
    targets.
    """
    line = "  rome/fig99_new: {kind: figure, from: [trace]}\n"
    shutil.copy(
        sandbox.path / "workflow/figures/rome/fig7_lines.py", sandbox.path / "workflow/figures/rome/fig99_new.py"
    )
    sandbox.edit("params.yaml", "paper:\n", f"paper:\n{line}")
    sandbox.run("snakemake", "--cores", "2")
    assert "written anew" in sandbox.run("engram", "record").stdout
    assert "rome-fig99_new" in (sandbox.path / "dvc.yaml").read_text()
    assert "up to date" in sandbox.run("dvc", "status").stdout
    traced = PARAMS | {"paper": {item: spec for item, spec in PARAMS["paper"].items() if spec["from"] == ["trace"]}}
    stages = yaml.safe_load(dvc_yaml.text(traced, ROOT))["stages"]
    assert "targets" not in stages and "results/targets/${item}" not in stages["edit"]["do"]["deps"]


@pytest.mark.long
def test_two_runs_are_compared(sandbox):
    """Metrics and plots of the workspace, and an experiment with another hyperparameter beside what is committed."""
    sandbox.edit("params.yaml", "paper:\n", f"paper:\n{METRICS}")
    sandbox.run("snakemake", "--cores", "2")
    sandbox.run("engram", "record")
    sandbox.git("add", "--all")
    sandbox.git("commit", "--quiet", "--message", "run")
    before = params.load(sandbox.path / "params.yaml")
    (numbers,) = json.loads(sandbox.run("dvc", "metrics", "show", "--json").stdout)[""]["data"].values()
    sandbox.run(
        "dvc", "exp", "run", "--name", "layer-three", "--set-param", "methods.rome.mini.layer=3", "beyond-metrics@mini"
    )
    after = params.load(sandbox.path / "params.yaml")
    assert after["methods"]["rome"]["mini"].pop("layer") == 3 and before["methods"]["rome"]["mini"].pop("layer") == 0
    assert after == before, "nothing else of the file"
    (changed,) = json.loads(sandbox.run("dvc", "metrics", "diff", "--json").stdout).values()
    assert changed["value"]["old"] == numbers["data"]["value"] != changed["value"]["new"]
    rows = list(csv.DictReader(sandbox.run("dvc", "exp", "show", "--csv").stdout.splitlines()))
    named = {row["Experiment"]: row for row in rows}
    own = named["layer-three"]
    assert own["value"] == str(changed["value"]["new"]) and own["methods.rome.mini.layer"] == "3"
    shown = sandbox.run("dvc", "plots", "show", "--json", "figures/mini/rome/fig7_lines.png").stdout
    assert "fig7_lines.png" in shown


def test_an_unfinished_run_is_not_recorded(sandbox):
    """Artifacts in order, made with other settings than those of params.yaml."""
    sandbox.edit("params.yaml", "samples: 10", "samples: 11")
    assert "has jobs left" in sandbox.run("engram", "record", ok=False).stdout
