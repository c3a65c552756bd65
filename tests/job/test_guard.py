"""What a user sees when a stage fails: one line with file and remedy, status 1; nothing half-written, nothing lost."""

import ast
import errno
import fcntl
import os
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from command_lines import parse_call
from engram.job import arguments, guard, io, lineage
from engram.job.schema_checks import TEXT, WHOLE, Table, column
from repository import ROOT
from written_files import FRAME, artifact

SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))


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


def test_an_error_of_a_file_is_one_line_and_keeps_its_traceback(folder, capsys):
    job = job_of(folder)
    with pytest.raises(OSError, match="gone") as raised:
        Path("gone.parquet").read_bytes()
    text = said(job, raised.value, capsys)
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
    schema = Table("rows", "one row").with_columns(column("a", WHOLE, "a number"), column("text", TEXT, "its text"))
    io.read_table("one.parquet", schema)
    with pytest.raises(ValueError, match=r"two\.parquet") as error:
        io.read_table("two.parquet", schema)
    text = said(job, error.value, capsys)
    assert text.startswith("stage (m): two.parquet: no column 'a', it has ['b', 'text']; delete it and run again")


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


def test_two_processes_do_not_make_the_same_files(folder, capfd):
    """The second waits for the first, which a killed run may have left behind."""
    first = guard.lock_outputs(folder / "out.parquet")
    code = "import sys; sys.path.insert(0, sys.argv[1]); from engram.job import guard; "
    code += "guard.lock_outputs(sys.argv[2]); print('mine')"
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
    guard.lock_outputs(folder / "other.parquet"), guard.lock_outputs(folder / "another.parquet")  # others do not wait


def flags(script: Path) -> list[str]:
    """The flags of a stage's script or an item, and a wrong one."""
    call = ast.parse(parse_call(script), mode="eval").body
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
