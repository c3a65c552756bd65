"""The numbers and pictures in README.md are those of the committed run.

README.md and figures/mini are taken from the last commit, not from the folder: a run on another processor may differ in
late digits, and that must not fail here.
"""

import subprocess

import pytest

from engram.report import readme
from repository import ROOT


@pytest.fixture
def committed(tmp_path):
    done = subprocess.run(["git", "archive", "HEAD", "README.md", "figures/mini"], cwd=ROOT, capture_output=True)
    if done.returncode:
        pytest.skip(f"not a git checkout with figures/mini: {done.stderr.decode().strip()}")
    subprocess.run(["tar", "-x", "-C", tmp_path], input=done.stdout, check=True)
    return tmp_path


def check(folder):
    return readme.main(
        [
            "--check",
            "--readme",
            str(folder / "README.md"),
            "--figures",
            str(folder / "figures/mini"),
            "--code",
            str(ROOT / "workflow/figures"),
        ]
    )


def test_readme_says_what_the_committed_run_measured(committed):
    assert check(committed) == 0


def test_another_number_would_be_noticed(committed):
    table = committed / "figures/mini/rome/table4_counterfact.md"
    table.write_text(table.read_text().replace("1", "2"))
    assert check(committed) == 1
