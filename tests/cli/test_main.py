"""The command `engram`: no use of it ends in a traceback."""

import subprocess
import sys

import pytest

from engram.cli import main

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
