"""DVC remembers what Snakemake made: dvc.yaml says the same as the rules, and both stay clean together."""

import csv
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

from engram.job import code_digest, lineage
from engram.provenance import audit, dvc_lock, dvc_yaml, planned_jobs, record_run
from engram.settings import edits, items, params
from repository import ROOT
from sandboxes import Sandbox, remembered, restore, small_params

PARAMS = yaml.safe_load(small_params())
SEEN = items.seen(PARAMS, "mini")
ITEMS = {item.replace("/", "-"): item for item in PARAMS["paper"]}
NAMES = [*remembered(PARAMS), *ITEMS]
METRICS = """  beyond/metrics: {kind: metrics, from: [trace, evaluate], dataset: counterfact,
                   methods: [none, rome], n: 1}
"""
TARGETS = """
import json
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.settings.types import DAGSettings, OutputSettings, Quietness, ResourceSettings

with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
    workflow = api.workflow(resource_settings=ResourceSettings(cores=1), snakefile=Path("Snakefile"))
    workflow.dag(DAGSettings())
    print(json.dumps({rule.name: sorted(rule.input) for rule in workflow._workflow.rules if "@" in rule.name}))
"""


def records_of(built: Sandbox, stage: dict) -> list[dict]:
    """The records of lineage of what a stage made."""
    places = [built.path / out for out in stage["outs"]]
    files = [path for place in places for path in (place.rglob("*.json") if place.is_dir() else [place])]
    return [json.loads(path.read_text()) for path in files if path.parent.name == ".lineage"]


def value_of(values: dict, key: str):
    """What a dotted key of params.yaml holds; None if there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


@pytest.fixture(scope="module")
def declared(built) -> dict[str, dict]:
    """The stages of dvc.yaml for `mini`: cmd, deps, params, outs."""
    return {name.removesuffix("@mini"): stage for name, stage in dvc_lock.stages(built.path, PARAMS).items()}


def test_one_stage_per_word_and_per_item(built, declared):
    assert list(declared) == ["params", *NAMES]
    stages = yaml.safe_load((built.path / "dvc.yaml").read_text())["stages"]
    assert all(stage["foreach"] == "${run.models}" for name, stage in stages.items() if name != "params")


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_outs(name, built, declared):
    """A stage asks Snakemake for a target of its name; what lies there belongs to it, with its record."""
    assert declared[name]["cmd"] == f"PATH=.venv/bin:$PATH ENGRAM_MODELS=mini snakemake --cores all {name}@mini"
    outs = declared[name]["outs"]
    if name in ITEMS:
        files = list(built.path.glob(f"figures/mini/{ITEMS[name]}.*"))
        every = (path for file in files for path in (file, lineage.record_path(file)))
        assert set(outs) == {path.relative_to(built.path).as_posix() for path in every}
    else:
        assert outs == ["data/mini" if name == "dataset" else f"results/{name}/mini"]
    flags = yaml.safe_load((built.path / "dvc.yaml").read_text())["stages"][name]["do"]["outs"]
    right = {"cache": False, "persist": True} if name in ITEMS else {"persist": True}  # git keeps the files of items
    assert all(list(out.values()) == [right] for out in flags)


def test_every_artifact_is_an_out(built, declared):
    covered = [Path(path) for stage in declared.values() for path in stage["outs"]]
    for folder in ("data", "results", "figures"):
        for path in (built.path / folder).rglob("*"):
            place = path.relative_to(built.path)
            kept = place.parent in audit.KEPT  # by git
            assert not path.is_file() or kept or any(place.is_relative_to(out) for out in covered), place


def test_the_target_of_a_stage_is_every_file_of_its_outs(built, declared):
    """What a stage's command asks Snakemake for is all that lies in what DVC keeps of it, records of lineage
    included.
    """
    asked = json.loads(built.run("python", "-c", TARGETS).stdout.splitlines()[-1])
    for name in NAMES:
        outs = [built.path / out for out in declared[name]["outs"]]
        files = [path for out in outs for path in (out.rglob("*") if out.is_dir() else [out]) if path.is_file()]
        assert asked[f"{name}@mini"] == sorted(path.relative_to(built.path).as_posix() for path in files), name


def lost(sandbox: Sandbox, stage: dict, what: str) -> list[Path]:
    """Delete an artifact, a record of lineage or a folder (of a stage of items: all its files) of what a stage made;
    the files that are gone.
    """
    outs = [sandbox.path / out for out in stage["outs"]]
    files = sorted(path for out in outs for path in ([out] if out.is_file() else out.rglob("*")) if path.is_file())
    if what == "folder":
        gone = [path for path in files if path.is_relative_to(files[-1].parent)] if outs[0].is_dir() else files
    else:
        gone = [path for path in files if (path.parent.name == ".lineage") == (what == "record")][:1]
    for path in gone:
        path.unlink()
    return gone


def test_what_is_lost_of_one_stage_comes_back(sandbox, declared):
    """`dvc repro` of the stage alone brings back its bytes: of a stage of one job, of many jobs, of a figure."""
    comes_back(sandbox, declared, "known", "artifact")
    comes_back(sandbox, declared, "evaluate", "folder")
    comes_back(sandbox, declared, "rome-fig2_average_traces", "record")


@pytest.mark.long
@pytest.mark.parametrize("what", ["artifact", "record", "folder"])
def test_what_is_lost_of_any_stage_comes_back(sandbox, declared, what):
    for name in NAMES:
        comes_back(sandbox, declared, name, what)


def comes_back(sandbox: Sandbox, declared: dict, name: str, what: str) -> None:
    """Lose something of a stage, ask DVC for the stage and nothing else, compare."""
    place = sandbox.path / declared[name]["outs"][0]
    folder = place if place.is_dir() else place.parent
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    gone = lost(sandbox, declared[name], what)
    assert gone and not any(path.exists() for path in gone)
    sandbox.run("dvc", "repro", "--single-item", f"{name}@mini")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before, name


@pytest.mark.parametrize("name", NAMES)
def test_deps_are_the_code_and_the_inputs(name, built, declared):
    """Exactly the files of the code digests, and every folder or file that an artifact's record names as input."""
    records = records_of(built, declared[name])
    modules = {path for record in records for path in record["modules"]}
    deps = set(declared[name]["deps"])
    code = {path for path in deps if path.startswith("workflow/")}
    texts = {path: code_digest.tree_text((built.path / path).read_text()) for path in modules}
    assert code == {path for path, text in texts.items() if not text.startswith("Module(body=[Pass()]")}
    inputs = {one["path"] for record in records for one in record["inputs"]}
    folders = deps - code
    assert "results/params/valid.json" in folders
    assert all(any(Path(path).is_relative_to(folder) for folder in folders) for path in inputs), inputs
    assert all(any(Path(path).is_relative_to(folder) for path in inputs) for folder in folders - {dvc_yaml.FIRST})


@pytest.mark.parametrize("name", NAMES)
def test_params_cover_the_slices(name, built, declared):
    """Every value of the settings in a record stands in params.yaml under a key that the DVC stage watches."""
    watched = declared[name]["params"]
    for record in records_of(built, declared[name]):
        found = dict(record["params"])
        model = found.pop("model")
        keys = [f"run.{key}" for key in found.pop("run", {})] + [f"models.mini.{key}" for key in model if key != "name"]
        item = f"paper.{ITEMS.get(name)}"
        family = found.get("method", {}).get("name", "")
        block = f"methods.{family}.mini" if family in PARAMS["methods"] else "paper"
        names = {"source": "sources", "method": block, "paper": item, "points": item, "texts": "paper"}
        names |= {"variants": "trace.variants"}
        keys += [names.get(key, key) for key, value in found.items() if value not in ({}, None)]
        keys = [key for key in keys if value_of(PARAMS, key) not in ({}, None)]
        assert all(any(key == one or one.startswith(f"{key}.") for one in watched) for key in keys), (keys, watched)
    assert all(value_of(PARAMS, one) is not None for one in watched)


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


def one_figure_of_other_params(sandbox):
    """Two changes of params.yaml, and a figure made anew that depends on one of them."""
    sandbox.edit("params.yaml", "samples: 10", "samples: 11")
    sandbox.edit("params.yaml", "generation_tokens: 100", "generation_tokens: 90")
    text = sandbox.run("dvc", "repro", "rome-fig2_average_traces@mini").stdout
    assert re.findall(r"Running stage '(.*)'", text) == ["params", "trace@mini", "rome-fig2_average_traces@mini"]


def test_one_figure_with_what_lies_upstream_and_nothing_else(sandbox):
    one_figure_of_other_params(sandbox)
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


@pytest.mark.long
def test_a_run_of_which_dvc_made_a_part_is_finished_by_snakemake(sandbox):
    one_figure_of_other_params(sandbox)
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
    assert f"commit {sandbox.git('rev-parse', 'HEAD~1')[:12]}" in shown and "verified: 17 artifacts" in shown
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
    models = params.remembered(ROOT / "params.yaml")
    made = dvc_yaml.text(values, planned_jobs.jobs(ROOT, models), ROOT, models)
    assert made == (ROOT / "dvc.yaml").read_text(), "run `engram pipeline`"


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
    (sandbox.path / "params.yaml").write_text(yaml.safe_dump(traced, sort_keys=False))
    sandbox.run("engram", "pipeline")
    words = [name for name in yaml.safe_load((sandbox.path / "dvc.yaml").read_text())["stages"] if "-" not in name]
    assert words == ["params", "dataset", "train", "checkpoint", "known", "noise", "trace"], "what its items read"


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
