"""Snakemake's jobs, as objects: what they read, run and make, and which keys of params.yaml decide them."""

import copy
import shutil
from pathlib import Path

import pytest
import yaml

from engram.provenance import planned_jobs
from repository import ROOT

CHANGES = {
    "trace.samples": 11,
    "trace.variants.extra.prompts": 3,
    "methods.rome.mini.kl_factor": 0.9,
    "models.mini.covariance_layers": [0, 1, 2, 3, 4],
    "hypernet.mend.mini.training.steps": 3,
    "paper.memit/fig6_categories.texts": 4,
    "paper.rome/fig10_examples.options.count": 6,
}


@pytest.fixture
def workflow(tmp_path) -> Path:
    """The rules and settings of the repository in a folder where nothing has been made."""
    for name in ("Snakefile", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("workflow", "profiles"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data/published.csv", tmp_path / "data")
    return tmp_path


def changed(values: dict) -> dict:
    """The contents of params.yaml with all of CHANGES."""
    values = copy.deepcopy(values)
    for key, new in CHANGES.items():
        *way, last = key.split(".")
        block = values
        for part in way:
            block = block[part]
        block[last] = new
    return values


def test_keys_say_what_decides_a_job(workflow):
    """After some changes: a job whose settings or command differ has a key that one of the changes is under."""
    values = yaml.safe_load((workflow / "params.yaml").read_text())
    before = {job.outputs: job for job in planned_jobs.jobs(workflow)}
    (workflow / "params.yaml").write_text(yaml.safe_dump(changed(values), sort_keys=False))
    after = {job.outputs: job for job in planned_jobs.jobs(workflow)}
    assert before.keys() == after.keys()
    other = {
        out for out, job in after.items() if (job.config, job.command) != (before[out].config, before[out].command)
    }
    touched = {
        out
        for out, job in before.items()
        if any(change == key or change.startswith(f"{key}.") for change in CHANGES for key in job.keys)
    }
    assert {before[out].rule for out in other} == {
        *("covariance", "trace", "gradients", "targets", "hypernet", "edit", "paper_figure")
    }
    assert other <= touched, [before[out] for out in other - touched]
    assert not {before[out].rule for out in touched} & {"dataset", "train", "known", "prefixes"}


def test_a_job_is_whole(workflow):
    (job,) = (job for job in planned_jobs.jobs(workflow) if job.outputs[0].startswith("results/noise/mini/m/"))
    assert job.rule == "noise" and job.wildcards == {"model": "mini", "corruption": "m"}
    assert job.outputs == ("results/noise/mini/m/noise.json", "results/noise/mini/m/vectors.safetensors")
    assert {"results/known/mini/prompts.parquet", "data/mini/text.parquet"} <= set(job.inputs)
    assert job.command[0] == "workflow/scripts/noise.py" and "--config" not in job.command
    assert job.config["noise"] == {"articles": 1000} and "trace.variants.gaussian" in job.keys


def test_snakemakes_words_when_it_has_no_answer(workflow):
    (workflow / "data/published.csv").unlink()
    with pytest.raises(RuntimeError, match=r"(?s)snakemake cannot say.*Missing input files.*data/published\.csv"):
        planned_jobs.jobs(workflow)
