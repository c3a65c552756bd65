"""Times of jobs, from files as Snakemake writes them."""

import pytest
import yaml

from engram.machine import timings
from repository import ROOT

NUMBERS = ROOT / "data" / "published.csv"
HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
JOBS = {  # file -> seconds; an old run with more jobs of the same name writes a row each
    "train/gpt-j-6b": [100.0],
    "trace/gpt-j-6b/main": [30.0],
    "trace/gpt-j-6b/severed": [12.0],
    "targets/gpt-j-6b/counterfact/memit": [5000.0],
    "edit/gpt-j-6b/counterfact/memit/n10000": [700.0],
    "edit/gpt-j-6b/counterfact/memit/n10": [7.0],
    "evaluate/gpt-j-6b/counterfact/memit/n10000": [9.0, 8.0],
    "edit/gpt-j-6b/counterfact/rome/n10000by1": [900.0],
    "edit/gpt-j-6b/counterfact/memit-layers-5/n1000": [55.0],
    "edit/mini/counterfact/rome/n1": [1.5],
}


@pytest.fixture
def logs(tmp_path):
    for name, seconds in JOBS.items():
        path = tmp_path / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEAD + "".join(f"{s}\t0:00:00\t{s * 2}\t-\t-\t-\t-\t-\t0\t{s / 2}\n" for s in seconds))
    return tmp_path


@pytest.fixture(scope="module")
def values():
    found = yaml.safe_load((ROOT / "params.yaml").read_text())
    return found | {"run": found["run"] | {"models": ["gpt-j-6b"]}}


def test_jobs_of_one_model_by_stage(logs):
    found = timings.by_stage(timings.read(logs, "gpt-j-6b")).set_index("stage")
    assert list(found.index) == ["train", "trace", "targets", "edit", "evaluate"], "in the order of the data"
    assert found.loc["trace"].tolist() == [2, 42.0, 30.0, 21.0, 60.0]
    assert found.loc["edit", "jobs"] == 4 and found.loc["evaluate", "seconds"] == 8.0, "of a repeated job the last"


def test_a_job_handed_over_says_itself_what_it_used(logs):
    (logs / "trace/gpt-j-6b/main.log").write_text("trace: 100%\nprocessor time 25.5 s, memory 700 MiB\n")
    (logs / "trace/gpt-j-6b/severed.log").write_text("processor time 99.9 s, memory 1 MiB\nand what came after\n")
    found = timings.by_stage(timings.read(logs, "gpt-j-6b")).set_index("stage")
    assert found.loc["trace", ["processor", "MiB"]].tolist() == [25.5 + 6.0, 700.0]


def test_edits_beside_what_the_paper_needed(logs, values):
    """MEMIT's 10,000 edits: 26,773.00 s, of it 23,546.65 s for z; other numbers of facts have no published time."""
    found = timings.by_edit(timings.read(logs, "gpt-j-6b"), values, "gpt-j-6b", NUMBERS).set_index(["method", "n"])
    assert list(found.index) == [("rome", "10000by1"), ("memit", "10"), ("memit", "10000")], "no points of sweeps"
    memit = found.loc[("memit", "10000")]
    assert memit[["targets", "edit", "evaluate", "published", "z", "insert"]].tolist() == [
        5000,
        700,
        8,
        26773.00,
        23546.65,
        3226.35,
    ]
    assert found.loc[("rome", "10000by1"), "published"] == 44248.26
    assert found.loc[("memit", "10"), ["published", "z"]].isna().all()


def test_the_report_and_a_model_without_jobs(logs, values):
    text = timings.report(logs, values, NUMBERS)
    assert "| counterfact | MEMIT | 10000 | 5,000.0 | 700.0 | 8.0 | 26,773.0 | 23,546.7 | 3,226.3 |" in text
    assert "| trace | 2 | 42.0 | 30.0 | 21.0 | 60.0 |" in text and "RTX A6000" in text
    mini = timings.report(logs, values | {"run": values["run"] | {"models": ["mini"]}}, NUMBERS)
    assert "| counterfact | ROME | 1 | 1.5 |" in mini and "RTX A6000" not in mini
    with pytest.raises(FileNotFoundError, match="no benchmark of a job of gpt2-xl"):
        timings.read(logs, "gpt2-xl")
