"""Locks of runs that are alive or dead, and folders that cannot be written to."""

import subprocess
import sys
from pathlib import Path

import pytest

from engram.machine import liveness


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
