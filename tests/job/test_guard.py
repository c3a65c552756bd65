"""What a user sees when a stage fails: one line with file and remedy, status 1; nothing half-written, nothing lost."""

import ast
import errno
import fcntl
import json
import os
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engram.editing import second_moment
from engram.editing.values import descent
from engram.job import arguments, guard, io, lineage
from engram.settings.objective import Settings

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))
FRAME = pd.DataFrame({"a": [1, 2], "text": ["x", "y"]})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # stand() changes it
    (tmp_path / "logs").mkdir()
    (tmp_path / "stage.py").write_text("")
    return tmp_path


def job_of(folder: Path, **inputs) -> arguments.Job:
    argv = [word for name, path in inputs.items() for word in (f"--{name}", str(path))]
    return arguments.parse(
        "stage.py",
        "",
        [*argv, "--out", str(folder / "results" / "out.parquet"), "--model", "m"],
        inputs=list(inputs),
        outputs=["out"],
        keys=["model"],
    )


def said(job, error, capsys) -> str:
    guard.report(job, error)
    return capsys.readouterr().err


def artifact(path: Path, value) -> Path:
    """A file with its lineage record, as a stage writes it."""
    Path("maker.py").write_text("")
    made = arguments.Job(
        Path("maker.py"), ["maker.py"], {}, SimpleNamespace(), SimpleNamespace(out=path), SimpleNamespace()
    )
    made.write("out", value)
    return path


def test_an_error_of_a_file_is_one_line_and_keeps_its_traceback(folder, capsys):
    job = job_of(folder)
    try:
        open("gone.parquet")
    except OSError as error:
        text = said(job, error, capsys)
    assert (
        text.startswith("stage (m): gone.parquet: No such file or directory; run `snakemake`")
        and "Traceback" not in text
    )
    kept = Path(re.search(r"traceback: (.*)\)", text)[1])
    assert kept.read_text().startswith("Traceback")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "x.parquet"),
            ["x.parquet: No space left", "free some space"],
        ),
        (OSError(errno.EROFS, "Read-only file system", "x.json"), ["x.json: Read-only", "make the folder writable"]),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"),
            ["out of memory: CUDA out", "smaller batches"],
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), ["out of memory", "--cores"]),
        (MemoryError("prompt 3 ('x') does not fit"), ["prompt 3 ('x') does not fit"]),
        (ValueError("a: what; right"), ["a: what; right"]),
        (KeyError("run"), ["no 'run' in the settings"]),
        (TypeError("x is not y"), ["not expected", "TypeError: x is not y"]),
        (KeyboardInterrupt(), ["interrupted; run again"]),
    ],
)
def test_what_is_said(folder, capsys, error, words):
    text = said(job_of(folder), error, capsys)
    assert all(word in text for word in words) and "Traceback" not in text and text.startswith("stage (m): "), text


def test_an_unexpected_error_without_a_place_for_its_traceback_prints_it(folder, capsys):
    (folder / "logs").rmdir()
    assert "TypeError: x" in said(job_of(folder), TypeError("x"), capsys).split("stage (m)")[0]


def test_a_missing_column_is_named_with_its_file(folder, capsys):
    FRAME.to_parquet("one.parquet")
    FRAME.rename(columns={"a": "b"}).to_parquet("two.parquet")
    job = job_of(folder, one="one.parquet", two="two.parquet")
    try:
        io.read_table("two.parquet")["a"]
    except KeyError as error:
        text = said(job, error, capsys)
    assert "two.parquet: no column 'a', it has ['b', 'text']; delete it" in text and "one.parquet" not in text


@pytest.mark.parametrize(
    "damage",
    [lambda path: path.write_bytes(path.read_bytes()[:-9]), lambda path: FRAME.drop(columns="a").to_parquet(path)],
)
def test_inputs_are_as_they_were_made(folder, damage):
    """Truncated or with another content: named before anything is computed. Without a record a file is taken as it
    is.
    """
    path = artifact(folder / "results" / "table.parquet", FRAME)
    job = job_of(folder, table=path)
    guard.verify(job.hashed_inputs())
    damage(path)
    with pytest.raises(ValueError, match=r"table.parquet: not what stage maker wrote.*delete it and run again"):
        guard.verify(job_of(folder, table=path).hashed_inputs())
    record = lineage.record_path(path)
    record.write_text(record.read_text().replace("maker", "baker"))
    with pytest.raises(ValueError, match="a damaged lineage record"):
        guard.verify(job_of(folder, table=path).hashed_inputs())
    record.unlink()
    guard.verify(job_of(folder, table=path).hashed_inputs())


@pytest.mark.parametrize(
    ("name", "value", "reader"),
    [
        ("x.parquet", FRAME, io.read_table),
        ("x.safetensors", {"a": torch.ones(3)}, io.read_tensors),
        ("x.json", {"a": 1}, io.read_json),
    ],
)
def test_damaged_files_are_named(folder, name, value, reader):
    io.write(folder / name, value)
    for cut in (2, 5, (folder / name).stat().st_size - 1):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-cut])
        with pytest.raises(ValueError, match=f"{name}: not a whole"):
            reader(folder / name)
        (folder / name).write_bytes(content)


def test_a_second_moment_that_is_no_number(folder, monkeypatch):
    path = folder / "moments.safetensors"
    total = torch.eye(4, dtype=torch.float64)
    monkeypatch.setattr(second_moment, "identity", lambda job, lm: {})
    for bad in (float("nan"), float("inf")):
        io.write(path, second_moment.to_tensors({0: second_moment.Moment(total.clone().fill_(bad), 9)}))
        with pytest.raises(
            ValueError, match=r"moments.safetensors: the second moment of layer 0 has entries that are not finite"
        ):
            second_moment.load(path, None, None)


def test_a_value_that_diverges(monkeypatch):
    found = [descent.Found(torch.zeros(1), torch.zeros(1), [[1.0], [float("nan")]])]
    monkeypatch.setattr(descent, "batch_of", lambda *args: None)
    monkeypatch.setattr(descent, "descend", lambda *args: found)
    work = SimpleNamespace(fact=SimpleNamespace(case_id=7))
    with pytest.raises(ValueError, match=r"fact 7 diverged: after 2 steps its loss is nan; lower the rate, 0.5,"):
        descent.optimised(None, [work], SimpleNamespace(settings=Settings(layer=0)))


LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import pathlib, numpy, pandas, torch
from types import SimpleNamespace
from engram.job import arguments
values = {"parquet": pandas.DataFrame({"a": numpy.random.default_rng(0).random(5000)}), "safetensors": {"a": torch.rand(5000)},
          "json": list(range(5000)), "csv": pandas.DataFrame({"a": range(5000)}), "md": "x" * 5000}
paths = {suffix: pathlib.Path(f"out.{suffix}") for suffix in values}
script = pathlib.Path(sys.argv[1], "..", "scripts", "prefixes.py")
job = arguments.Job(script, ["x"], {}, SimpleNamespace(), SimpleNamespace(**paths), SimpleNamespace())
for suffix, path in paths.items():
    path.write_bytes(b"before")
    try:
        job.write(suffix, values[suffix])
    except OSError as error:
        print(error.errno, error.filename, path.read_bytes())
print(sorted(one.name for one in pathlib.Path(".").iterdir()))
"""


def test_a_disk_that_is_full_while_a_file_is_written(folder):
    """No room after 2,000 bytes: an OSError with the file's name; what was there stays, and no part is left."""
    done = subprocess.run([sys.executable, "-c", LIMITED, str(ROOT / "workflow/lib")], capture_output=True, text=True)
    files = [f"out.{suffix}" for suffix in ("parquet", "safetensors", "json", "csv", "md")]
    expected = [*(f"{errno.EFBIG} {file} b'before'" for file in files), str(sorted(["logs", "stage.py", *files]))]
    assert done.stdout.splitlines() == expected, done


def test_the_record_is_there_before_the_artifact(folder, monkeypatch):
    """A kill between the two leaves a record without a file, never a file with the record of another."""
    order, replace = [], os.replace
    monkeypatch.setattr(
        os, "replace", lambda source, target: (order.append(Path(target).name), replace(source, target))
    )
    path = artifact(folder / "results" / "table.parquet", FRAME)
    assert order == ["table.parquet.json", "table.parquet.json", "table.parquet"]  # of the ledger, of the record
    assert json.loads(lineage.record_path(path).read_text())["sha256"] == lineage.sha256(path)


def test_two_processes_do_not_make_the_same_files(folder, capfd):
    """The second waits for the first, which a killed run may have left behind."""
    first = guard.alone(folder / "out.parquet")
    code = "import sys; sys.path.insert(0, sys.argv[1]); from engram.job import guard; guard.alone(sys.argv[2]); print('mine')"
    second = subprocess.Popen(
        [sys.executable, "-c", code, str(ROOT / "workflow/lib"), str(folder / "out.parquet")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert f"is being made by process {os.getpid()}" in second.stderr.readline()
    time.sleep(0.2)
    assert second.poll() is None
    fcntl.flock(first, fcntl.LOCK_UN)
    assert second.communicate(timeout=60)[0] == "mine\n"
    guard.alone(folder / "other.parquet"), guard.alone(folder / "another.parquet")  # others do not wait


def flags(script: Path) -> list[str]:
    """The flags of a stage's script, as its call of arguments.parse names them, and a wrong one."""
    call = next(
        node
        for node in ast.walk(ast.parse(script.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "arguments.parse"
    )
    names = [name.rstrip("*?") for word in call.keywords for name in ast.literal_eval(word.value)]
    return [f"--{name}" for name in names] + ["--config", "--wrong"]


def as_a_user(script: Path, words: list[str], capfd) -> tuple[int, str]:
    """Run a script as its own process would: status and what is said."""
    before = sys.argv, sys.excepthook
    sys.argv = [str(script), *words]
    try:
        runpy.run_path(str(script), run_name="__main__")
        status = 0
    except SystemExit as left:
        status = left.code
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    finally:
        sys.argv, sys.excepthook = before
    return status, capfd.readouterr().err


WORDS = st.one_of(
    st.sampled_from(
        [
            "gone.parquet",
            "bad.parquet",
            "bad.json",
            "bad.safetensors",
            "good.parquet",
            ".",
            "",
            "1by1",
            "{}",
            "[]",
            "{",
            '{"run": 1}',
            '{"run": {"threads": 1, "device": "cpu"}}',
            '{"seed": null, "source": {}}',
        ]
    ),
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=6),
)


@settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_no_command_line_of_a_stage_ends_in_a_traceback(folder, capfd, script, data):
    """Flags with files that are not there, damaged ones, settings of other kinds: a clear error, status not 0."""
    for name in ("bad.parquet", "bad.json", "bad.safetensors"):
        (folder / name).write_bytes(b"bad")
    FRAME.to_parquet(folder / "good.parquet")
    known = flags(script)
    chosen = [flag for flag in known[:-1] if data.draw(st.booleans()) or data.draw(st.booleans())]
    words = [word for flag in chosen for word in (flag, data.draw(WORDS))]
    words += data.draw(st.lists(st.sampled_from(known), max_size=1))
    status, text = as_a_user(script, words, capfd)
    assert status not in (0, None) and text.strip() and "Traceback" not in text, (words, text)
