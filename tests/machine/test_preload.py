"""Jobs in a copy of a process that has the libraries loaded behave as ordinary ones."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repository import ROOT

PYTHON = ROOT / "workflow" / "bin" / "python"
SOCKET = "preloaded.socket"


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Place:
    """A folder with scripts, and a process that has the libraries loaded."""

    def __init__(self, path: Path):
        self.path = path
        (path / "workflow" / "scripts").mkdir(parents=True)
        self.server = subprocess.Popen(
            [sys.executable, "-m", "engram.machine.preload", SOCKET], cwd=path, stdin=subprocess.PIPE
        )
        until((path / SOCKET).exists)

    def command(self, code: str, *args) -> dict:
        (self.path / "workflow/scripts/one.py").write_text(code)
        environment = os.environ | {"ENGRAM_PRELOADED": SOCKET, "ENGRAM_PYTHON": sys.executable}
        return {
            "args": [PYTHON, "workflow/scripts/one.py", *args],
            "cwd": self.path,
            "env": environment,
            "text": True,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }

    def job(self, code: str, *args) -> subprocess.CompletedProcess:
        return subprocess.run(**self.command(code, *args), timeout=60)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    found = Place(tmp_path_factory.mktemp("preload"))
    yield found
    found.server.stdin.close()
    assert found.server.wait(timeout=10) == 0 and not (found.path / SOCKET).exists(), "it ends with the run it serves"


WHAT = """
import sys
print("torch" in sys.modules, "engram.model.loading" in sys.modules, __name__, __file__, sys.argv, sys.path[0])
print("said", file=sys.stderr)
"""


def test_a_job_is_run_as_a_script_with_the_libraries_at_hand(place):
    done = place.job(WHAT, "--name", "x y\n'z'")
    argv = ["workflow/scripts/one.py", "--name", "x y\n'z'"]
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"True False __main__ {argv[0]} {argv} {place.path.resolve() / 'workflow/scripts'}\n"
    assert done.stderr.startswith("said\nprocessor time ") and done.stderr.endswith(" MiB\n")


def test_without_the_process_it_is_ordinary_python(place):
    command = place.command(WHAT)
    command["env"]["ENGRAM_PRELOADED"] = "nobody.socket"
    done = subprocess.run(**command)
    assert done.returncode == 0 and done.stdout.startswith("False False __main__") and done.stderr == "said\n"


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("import sys; sys.exit('no such file')", 1, "no such file\n"),
        ("raise SystemExit", 0, ""),
        ("raise ValueError('too few')", 1, "ValueError: too few\n"),
        ("import os; os.kill(os.getpid(), 9)", 1, "killed"),
    ],
)
def test_the_end_of_a_job_is_passed_on(place, code, status, said):
    done = place.job(code)
    assert done.returncode == status and said in done.stderr


def test_code_is_read_by_each_job(place):
    for word in ("first", "second"):
        (place.path / "workflow/scripts/beside.py").write_text(f"WORD = {word!r}")
        done = place.job("import sys; sys.dont_write_bytecode = True\nimport beside; print(beside.WORD)")
        assert done.stdout == f"{word}\n", done.stderr


@pytest.fixture
def interruptible():
    """Ctrl-C is not ignored by what a test starts: a process in the background hands that down."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_job_ends_with_what_waits_for_it(place, interruptible, number):
    command = place.command("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)")
    with subprocess.Popen(**command) as waiting:
        pid = int(waiting.stdout.readline())
        assert pid != waiting.pid and alive(pid)
        waiting.send_signal(number)
        try:
            assert waiting.wait(timeout=10) != 0
        finally:
            waiting.kill()
        until(lambda: not alive(pid), 10)


def test_jobs_run_side_by_side(place):
    code = (
        "import sys, time, pathlib\npathlib.Path(sys.argv[1]).touch()\n"
        "while not pathlib.Path(sys.argv[2]).exists(): time.sleep(0.01)"
    )
    with (
        subprocess.Popen(**place.command(code, "a", "b")) as one,
        subprocess.Popen(**place.command(code, "b", "a")) as other,
    ):
        assert one.wait(timeout=30) == other.wait(timeout=30) == 0


def test_a_run_of_many_jobs_starts_it_and_leaves_nothing(sandbox):
    params = (sandbox.path / "params.yaml").read_text()
    (sandbox.path / "params.yaml").write_text(
        params.replace("  preload: 0 ", "  preload: 2 ").replace("seed: 0", "seed: 1", 1)
    )
    sandbox.run("snakemake", "--cores", "2", "all_dataset", "all_train", "all_known")
    folder = sandbox.path / ".snakemake" / "preloaded"
    until(lambda: not list(folder.iterdir()))
    assert folder.is_dir()
