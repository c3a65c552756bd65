"""Two runs compared: what differs is named and explained."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from engram.cli import main
from engram.job import arguments, lineage
from engram.provenance import reproducible
from engram.settings import params
from repository import ROOT


def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with one artifact and its record each."""
    for name in ("one", "two"):
        path = tmp_path / name / "results" / "trace" / "mini" / "effects.parquet"
        config = {"seed": 0, "trace": {"samples": 2}}
        job = arguments.Job(
            ROOT / "workflow/scripts/trace.py",
            ["trace.py"],
            config,
            SimpleNamespace(),
            SimpleNamespace(effects=path),
            SimpleNamespace(model="mini"),
        )
        keys = {"model": "mini", "variant": "main", "prompt_id": 0}
        rows = [{**keys, "site": site, "token": 0, "layer": 1, "score": 0.25} for site in ("mlp", "attn")]
        job.write("effects", pd.DataFrame(rows))
    return tmp_path / "one", tmp_path / "two"


def test_records_are_compared_field_by_field(tmp_path):
    one, two = folders(tmp_path)
    found = reproducible.compare(one, two)
    assert (found.files, found.records, found.differences) == (1, 1, [])
    record = lineage.record_path(two / "results/trace/mini/effects.parquet")
    text = record.read_text()
    for old, new, key in (('"samples": 2', '"samples": 3', "params"), ('"device": "cpu"', '"device": "gpu"', "device")):
        record.write_text(text.replace(old, new))
        assert [row.what for row in reproducible.compare(one, two).differences] == [f"field {key}"]


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda path: pd.read_parquet(path).assign(score=[0.25, 0.5]).to_parquet(path), "score: by 0.25 at most"),
        (lambda path: pd.read_parquet(path).assign(site="mlp").to_parquet(path), "site: 1 rows"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "the first difference at byte"),
        (lambda path: path.unlink(), "only in one of the two"),
    ],
)
def test_what_differs_is_named_and_explained(tmp_path, monkeypatch, capsys, spoil, what):
    one, two = folders(tmp_path)
    spoil(two / "results/trace/mini/effects.parquet")
    (difference,) = reproducible.compare(one, two).differences
    assert difference.path == Path("results/trace/mini/effects.parquet") and what in difference.what
    (one / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (one / "workflow").symlink_to(ROOT / "workflow")
    monkeypatch.chdir(one)
    assert main.main(["reproducible", "--against", str(two)]) == (2 if "only" in what else 1)
    assert "effects.parquet" in capsys.readouterr().out
    assert main.main(["reproducible", "--against", "nowhere"]) == 2
    assert main.main(["reproducible", "--stage", "tracee"]) == 2
    assert "did you mean `trace`" in capsys.readouterr().err


def test_other_numbers_of_shards():
    values = params.load(ROOT / "params.yaml")
    shards, other = (found["run"]["shards"] for found in (values, reproducible.other_shards(values)))
    assert shards.keys() == other.keys() and all(other[stage] != shards[stage] for stage in shards)
    assert reproducible.other_shards({"run": {}})["run"]["shards"]["trace"] == 11, "of the default"


@pytest.mark.parametrize(
    ("stage", "status", "says"),
    [("dataset", 0, " 0 differences"), pytest.param("covariance", 0, " 0 differences", marks=pytest.mark.long)],
)
def test_two_runs_in_scratch_folders(sandbox, stage, status, says):
    """The whole way: two clones of HEAD, other cores and shards. A stand-in's bytes depend on all its settings: shards
    are none of them.
    """
    done = sandbox.run("engram", "reproducible", "--stage", stage, ok=None)
    assert done.returncode == status and says in done.stdout, done.stdout
    assert len(list(sandbox.path.glob(".reproducible/*/data/mini/facts.parquet"))) == 2
    assert "--cores 1" in done.stdout and "--cores 2" in done.stdout
