"""Faults lose nothing: runs that are killed, compared, started twice. Longer ones: `make faults`, `make
reproducible`.
"""

import shutil
import sys

import pytest

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
