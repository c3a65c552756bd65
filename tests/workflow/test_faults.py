"""Faults lose nothing: runs that are killed, compared, started twice. Longer ones: `make faults`, `make
reproducible`.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from engram.cli import main
from engram.job import arguments, lineage
from engram.machine import liveness
from engram.provenance import reproducible
from repository import ROOT
from sandboxes import Sandbox

sys.path.insert(0, str(ROOT / "tests" / "faults"))
import kills


@pytest.mark.parametrize("ways", [("power off",), pytest.param(kills.WAYS, marks=pytest.mark.long)], ids=len)
def test_killed_runs_go_on_and_end_with_the_same_bytes(built, tmp_path, ways):
    """One kill while figures are drawn, or one of each kind from the beginning on; `make faults` makes thirty, on
    stages that compute.
    """
    folder = tmp_path / "repo"
    shutil.copytree(built.path, folder, symlinks=True)
    if len(ways) == 1:
        shutil.rmtree(folder / "figures")
    else:
        kills.reset(folder)
    figures = kills.torment(folder, Sandbox(folder).environment, len(ways), 2.0, formats=False, ways=ways)
    assert dict(figures.kills) == dict.fromkeys(ways, 1) and not figures.problems, figures
    assert kills.verdict(built.path, folder, figures) == 0
    assert Sandbox(folder).jobs() == {}


def test_a_half_written_file_is_seen(sandbox):
    """The check after a kill is one that can fail."""
    assert kills.check(sandbox.path, formats=False)[1] == []
    path = next(sandbox.path.glob("results/trace/mini/main/*.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    shutil.rmtree(sandbox.path / "results/noise/mini" / ".lineage", ignore_errors=True)
    (sandbox.path / "figures/mini/new.csv").write_text("a\n")
    wrong = "\n".join(kills.check(sandbox.path, formats=False)[1])
    assert "effects.parquet: not what" in wrong or "prompts.parquet: not what" in wrong
    assert "figures/mini/new.csv" in wrong


def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with one artifact and its record each, made with 4 and with 7 shards."""
    for name, shards in (("one", 4), ("two", 7)):
        path = tmp_path / name / "results" / "trace" / "mini" / "effects.parquet"
        config = {"seed": 0, "trace": {"samples": 2, "shards": shards}}
        job = arguments.Job(
            ROOT / "workflow/scripts/trace.py",
            ["trace.py"],
            config,
            SimpleNamespace(),
            SimpleNamespace(effects=path),
            SimpleNamespace(model="mini"),
        )
        job.write("effects", pd.DataFrame({"site": ["mlp", "attn"], "score": [0.25, 0.5]}))
    return tmp_path / "one", tmp_path / "two"


def test_other_shards_are_set_aside_and_nothing_else(tmp_path):
    one, two = folders(tmp_path)
    found = reproducible.compare(one, two)
    assert (found.files, found.records, found.differences) == (1, 1, [])
    assert found.aside == {"digest": 1, "params.trace.shards": 1} and "params.trace.shards in 1" in reproducible.report(
        found
    )
    record = lineage.record_path(two / "results/trace/mini/effects.parquet")
    text = record.read_text()
    for old, new, key in (('"samples": 2', '"samples": 3', "params"), ('"device": "cpu"', '"device": "gpu"', "device")):
        record.write_text(text.replace(old, new))
        assert [row.what for row in reproducible.compare(one, two).differences] == [f"field {key}"]


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (
            lambda path: pd.DataFrame({"site": ["mlp", "attn"], "score": [0.25, 0.75]}).to_parquet(path),
            "score: by 0.25 at most",
        ),
        (lambda path: pd.DataFrame({"site": ["mlp", "mlp"], "score": [0.25, 0.5]}).to_parquet(path), "site: 1 rows"),
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
    values = {stage: {"shards": 20 if stage == "trace" else 1, "dtype": "float64"} for stage in reproducible.STAGES}
    found = reproducible.other_shards(values)
    assert all(found[stage]["shards"] != values[stage]["shards"] for stage in values)
    values["covariance"]["dtype"] = "float32"
    assert reproducible.other_shards(values)["covariance"]["shards"] == 1


@pytest.mark.parametrize(
    ("stage", "status", "says"),
    [
        ("dataset", 0, " 0 differences"),
        pytest.param("covariance", 1, "results/covariance/mini/moments.", marks=pytest.mark.long),
    ],
)
def test_two_runs_in_scratch_folders(sandbox, stage, status, says):
    """The whole way: two clones of HEAD, other cores and shards. A stand-in's bytes depend on all its settings, shards
    among them: that is seen.
    """
    done = sandbox.run("engram", "reproducible", "--stage", stage, ok=None)
    assert done.returncode == status and says in done.stdout, done.stdout
    assert len(list(sandbox.path.glob(".reproducible/*/data/mini/facts.parquet"))) == 2
    assert "--cores 1" in done.stdout and "--cores 2" in done.stdout


def test_the_lock_of_a_dead_run_is_removed_and_that_of_a_live_one_is_not(tmp_path, capsys):
    locks = tmp_path / "locks"
    locks.mkdir()
    (locks / "0.input.lock").write_text("x")
    assert liveness.enter(tmp_path) and not list(locks.iterdir())
    assert "was killed: its lock is removed" in capsys.readouterr().err
    (locks / "0.input.lock").write_text("x")
    code = "import sys; from engram.machine import liveness; print(liveness.enter(sys.argv[1]))"
    other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert other.stdout == "False\n" and "another run is alive" in other.stderr and list(locks.iterdir())


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "results" / "trace").mkdir(parents=True)
    liveness.writable([tmp_path / "results"])
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "trace")  # root may write everywhere
    with pytest.raises(SystemExit) as left:
        liveness.writable([tmp_path / "results"])
    assert left.value.code == 2 and "results/trace: cannot be written to" in capsys.readouterr().err


def test_a_damaged_object_of_the_cache_is_made_anew_or_named(sandbox, tmp_path):
    """From the workspace, where it has the content; else the file is named, with the way to get it back."""
    file = "results/prefixes/mini/prefixes.parquet"
    name = hashlib.md5((sandbox.path / file).read_bytes()).hexdigest()
    place = sandbox.path / ".dvc/cache/files/md5" / name[:2] / name[2:]
    for gone in (False, True):
        content = place.read_bytes()
        place.chmod(0o644)
        place.write_bytes(content[:-1])
        if gone:
            (sandbox.path / file).unlink()
        done = sandbox.run("engram", "cache", ok=not gone)
        assert f"made anew from {file}" in done.stdout if not gone else f"it was {file}; `dvc pull`" in done.stdout
        assert place.exists() != gone and (gone or place.read_bytes() == content)


COMMANDS = ("check", "record", "pipeline", "tidy", "times", "doctor", "reproducible", "cache")


@pytest.mark.parametrize(
    "words",
    [
        *([name] for name in COMMANDS),
        ["lineage", "x"],
        ["lineage", "../x"],
        ["lineage"],
        ["nothing"],
        [],
        ["check", "--out"],
        ["check", "--wrong"],
        ["times", "--logs", "x"],
        ["lineage", "x", "y"],
        ["reproducible", "--against", "params.yaml"],
    ],
)
def test_no_command_ends_in_a_traceback(tmp_path, monkeypatch, capfd, words):
    """In a folder that is no repository: a clear error, status not 0."""
    monkeypatch.chdir(tmp_path)
    try:
        status = main.main(words)
    except SystemExit as left:
        status = left.code
    said = capfd.readouterr()
    assert status not in (0, None) and (said.err + said.out).strip() and "Traceback" not in said.err


def test_a_reader_that_leaves_early_is_no_error():
    """As `engram lineage … | head -1`: no message, and the status of a program that SIGPIPE ends."""
    loud = (
        "import argparse, sys; from engram.cli import main\n"
        "def audit(args):\n    print('line\\n' * 100000)\n    return 0\n"
        "sys.exit(main.run_of(argparse.Namespace(run=audit)))"
    )
    done = subprocess.Popen([sys.executable, "-c", loud], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.stdout.readline() == "line\n"
    done.stdout.close()
    assert (done.stderr.read(), done.wait(60)) == ("", 141)
    done.stderr.close()
