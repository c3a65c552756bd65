"""Commands that start with their libraries loaded do what the ones a user types do: status, words, files, end."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

import command_server

WHAT = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.getcwd(), sys.path[:2], os.environ["TOLD"], "engram" in sys.modules]))
print(sys.stdin.read(), end="", file=sys.stderr)
raise SystemExit(3)
"""


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("engram lineage figures/mini/rome/fig2_average_traces.pdf", 0),
        ("engram lineage figures/mini/rome/none.pdf", 1),
        ("dvc status", 0),
        ("dvc none", 254),
        ("snakemake --dry-run --quiet host", 0),
        ("python -c raise(SystemExit(4))", 4),
    ],
)
def test_a_command_is_the_one_that_a_user_types(built, command, status):
    typed, served = (built.run(*command.split(), ok=None, plain=plain) for plain in (True, False))
    assert typed.returncode == served.returncode == status
    assert sorted(typed.stdout.splitlines()) == sorted(served.stdout.splitlines())


def started(folder: Path, code: str, *words) -> subprocess.Popen:
    (folder / "one.py").write_text(code)
    return subprocess.Popen(
        [command_server.programs() / "python", "one.py", *words],
        cwd=folder,
        env={"TOLD": "a=b\nc", "PYTHONPATH": "/first", "PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_script_gets_all_that_it_is_given(tmp_path):
    said, errors = (process := started(tmp_path, WHAT, "--x", "a b\n'", "")).communicate("asked")
    assert process.returncode == 3 and errors == "asked"
    assert json.loads(said) == [["--x", "a b\n'", ""], str(tmp_path), [str(tmp_path), "/first"], "a=b\nc", False]


def test_it_ends_with_what_waits_for_it(tmp_path):
    with started(tmp_path, "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)") as process:
        place = Path("/proc") / process.stdout.readline().strip()
        assert int(place.name) != process.pid and place.exists()
        process.send_signal(signal.SIGKILL)
        end = time.monotonic() + 20
        while place.exists() and ") Z " not in (place / "stat").read_text():
            assert time.monotonic() < end, "it goes on"
            time.sleep(0.02)
