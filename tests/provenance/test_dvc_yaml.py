"""dvc.yaml of models that differ: each has its own dependencies and keys under one name. No Snakemake, no DVC."""

import yaml

from engram.provenance import dvc_lock, dvc_yaml
from engram.provenance.planned_jobs import Job

SCRIPT = ("workflow/scripts/known.py",)


def job(rule: str, model: str, inputs: list[str], outputs: list[str], keys: list[str], **wildcards: str) -> Job:
    return Job(rule, {"model": model} | wildcards, tuple(inputs), tuple(outputs), SCRIPT, {}, ("seed", *keys))


def known(model: str, *inputs: str, keys: list[str]) -> Job:
    table = f"data/{model}/facts.parquet"
    return job("known", model, [table, *inputs], [f"results/known/{model}/facts.parquet"], keys)


def stages(tmp_path, models: list[str], jobs: list[Job]) -> tuple[dict, dict]:
    """The blocks of dvc.yaml, and the stages that they stand for."""
    values = {"run": {"models": models}, "paper": {"p/i": {}}}
    (tmp_path / "dvc.yaml").write_text(dvc_yaml.text(values, jobs, "."))
    blocks = yaml.safe_load((tmp_path / "dvc.yaml").read_text())["stages"]
    return blocks, dvc_lock.stages(tmp_path, values)


def test_models_that_are_alike_share_one_text(tmp_path):
    jobs = [known(model, keys=[f"models.{model}.hub"]) for model in ("a", "b")]
    blocks, found = stages(tmp_path, ["a", "b"], jobs)
    assert blocks["known"]["foreach"] == "${run.models}"
    assert found["known@b"]["params"] == ["seed", "models.b.hub"] and found["known@a"]["outs"] == ["results/known/a"]


def test_models_that_differ_have_entries_of_their_own(tmp_path):
    trained = job("train", "a", ["data/a/corpus.parquet"], ["results/train/a/loss.csv"], ["models.a.train"])
    jobs = [
        trained,
        known("a", "results/train/a/loss.csv", keys=["known"]),
        known("b", keys=["known", "models.b.hub", "models.b.revision"]),
    ]
    blocks, found = stages(tmp_path, ["a", "b"], jobs)
    assert blocks["train"]["foreach"] == ["a"] and "train@b" not in found
    own = {name: set(found[name]["deps"]) for name in ("known@a", "known@b")}
    assert own["known@a"] - own["known@b"] == {"data/a/facts.parquet", "results/train/a"}
    assert set(found["known@a"]["params"]) == {"seed", "known"}
    assert set(found["known@b"]["params"]) == {"seed", "known", "models.b.hub", "models.b.revision"}
    assert all(len(found[name]["deps"]) == len(found["known@a"]["deps"]) for name in own), (
        "DVC fills in words, not lists"
    )


def test_original_files_are_no_dependency_and_their_block_is_watched(tmp_path):
    fetched = Job("fetch", {"name": "f.json"}, (), ("data/original/f.json",), SCRIPT, {}, ("fetch",))
    made = job("dataset", "a", ["data/original/f.json", "data/w.csv"], ["data/a/facts.parquet"], ["sources.s"])
    _, found = stages(tmp_path, ["a"], [fetched, made])
    assert list(found) == ["params", "dataset@a"]
    assert found["dataset@a"]["params"] == ["seed", "fetch", "sources.s"]
    assert [path for path in found["dataset@a"]["deps"] if path.startswith("data/")] == ["data/w.csv"]


def test_a_name_with_a_dot_in_it_is_watched_as_the_block_it_is_in(tmp_path):
    """DVC takes every dot for a step into a block: it would look for `json` in `fetch.files.f`."""
    keys = ["fetch.mirrors", "fetch.files.f.json", "fetch.files.f.json.records", "fetch.files.plain"]
    fetched = Job("fetch", {"name": "f.json"}, (), ("data/original/f.json",), SCRIPT, {}, tuple(keys))
    made = job("dataset", "a", ["data/original/f.json"], ["data/a/facts.parquet"], [])
    values = {"run": {"models": ["a"]}, "paper": {}, "fetch": {"mirrors": [], "files": {"f.json": {}, "plain": {}}}}
    block = yaml.safe_load(dvc_yaml.text(values, [fetched, made], "."))["stages"]["dataset"]["do"]
    assert block["params"] == ["seed", "fetch.files", "fetch.files.plain", "fetch.mirrors"]


def test_an_item_is_its_files_and_their_records(tmp_path):
    drawn = job(
        "paper_figure", "a", ["data/a/facts.parquet"], ["figures/a/p/i.png"], ["paper.p/i"], paper="p", item="i"
    )
    blocks, found = stages(tmp_path, ["a"], [drawn])
    assert found["p-i@a"]["outs"] == ["figures/a/p/i.png", "figures/a/p/.lineage/i.png.json"]
    assert blocks["p-i"]["do"]["cmd"].endswith("p-i@${item}")
