"""Resuming: a job killed at any moment and started again writes the bytes of one that was never stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from engram.job import arguments, io, resuming
from engram.settings import execution

JOB = """
import sys, time
import pandas as pd, torch
from engram.job import arguments, resuming

job = arguments.parse(__file__, "x", sys.argv[1:], inputs=["table"], outputs=["sums", "rows"], keys=["model"])
slow = float(job.config.get("pause", 0))
with resuming.store(job) as store:
    def compute(part):
        print("computing", *part, flush=True)
        time.sleep(0.15)
        return {"rows.parquet": pd.DataFrame({"x": part, "y": [x / 7 for x in part], "z": [[x, x] for x in part]})}
    tables = list(resuming.parts(store, list(range(40)), compute))
    job.write("rows", pd.concat([table["rows.parquet"] for table in tables], ignore_index=True))
    job.write("sums", {"sum": torch.tensor([40.0])})
"""


def job(folder: Path, config=(), table=b"one"):
    (folder / "in.parquet").write_bytes(table)
    argv = ["--table", folder / "in.parquet", "--rows", folder / "results/x/rows.parquet", "--model", "m"]
    made = arguments.parse(__file__, "doc", argv, inputs=["table"], outputs=["rows"], keys=["model"])
    made.config = dict(config)
    return made


def command(folder: Path):
    (folder / "trace.py").write_text(JOB)
    (folder / "in.parquet").write_bytes(b"input")
    return [
        sys.executable,
        "trace.py",
        "--table",
        "in.parquet",
        "--rows",
        "results/x/rows.parquet",
        "--sums",
        "results/x/sums.safetensors",
        "--model",
        "m",
        "--config",
        '{"seed": 0}',
    ]


def test_a_killed_process_resumes_with_the_same_bytes_and_computes_no_finished_shard_again(tmp_path, monkeypatch):
    monkeypatch.setenv(execution.VARIABLE, json.dumps({"shards": {"trace": 8}}))
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    whole.mkdir()
    parted.mkdir()
    expected = subprocess.run(command(whole), cwd=whole, capture_output=True, text=True, check=True).stdout
    started, lines = command(parted), []
    for wanted in (2, 3):  # killed twice, in the middle of a shard
        process = subprocess.Popen(started, cwd=parted, stdout=subprocess.PIPE, text=True)
        lines += [process.stdout.readline() for _ in range(wanted)]
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        lines += process.stdout.readlines()
        assert process.wait() == -signal.SIGKILL
        assert not (parted / "results").exists() and len(list(parted.glob(".resume/results/x/*/*/*.json"))) > 0
    last = subprocess.run(started, cwd=parted, capture_output=True, text=True, check=True).stdout.splitlines(True)
    assert len(expected.splitlines()) == 8 and lines[1] in lines[2:] and len(last) == 8 - 3  # 1 + 2 were finished
    for name in ("rows.parquet", "sums.safetensors", ".lineage/rows.parquet.json"):
        assert (parted / "results/x" / name).read_bytes() == (whole / "results/x" / name).read_bytes(), name
    assert not (parted / ".resume").exists() and not (whole / ".resume").exists()


def test_a_stale_key_never_matches_and_goes_when_the_job_is_done(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []

    def attempt(fail=True, **changes):
        with resuming.store(job(tmp_path, **changes)) as store:
            for values in resuming.parts(
                replace(store, count=2), [1, 2], lambda part: seen.append(part) or {"a.json": part}
            ):
                if fail:
                    raise InterruptedError
        return values

    for changes in ({}, {"config": {"trace": {"samples": 9}}}, {"table": b"two"}):
        with pytest.raises(InterruptedError):
            attempt(**changes)
    monkeypatch.setattr("engram.job.code_digest.digest", lambda code: "other")
    assert attempt(fail=False) == {"a.json": [2]}
    assert seen == [[1]] * 4 + [[2]]
    assert not (tmp_path / ".resume").exists()


def test_another_number_of_shards_is_another_run_with_the_same_record(tmp_path, monkeypatch):
    """A shard of four is none of seven; the record of what they make holds neither number."""
    monkeypatch.chdir(tmp_path)
    script, folders, records = tmp_path / "trace.py", [], []
    script.write_text("")
    for count in (4, 7):
        monkeypatch.setenv(execution.VARIABLE, json.dumps({"shards": {"trace": count}}))
        asked = replace(job(tmp_path), script=script)
        with resuming.store(asked) as store:
            assert [len(part) for part in resuming.split(list(range(28)), store.count)] == [28 // count] * count
            asked.write("rows", pd.DataFrame({"x": [1]}))
        folders.append(store.folder)
        records.append((tmp_path / "results/x/.lineage/rows.parquet.json").read_bytes())
    assert folders[0] != folders[1] and records[0] == records[1]


def test_two_jobs_of_one_folder_keep_their_own_shards(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, two = job(tmp_path), job(tmp_path)
    two.outputs.rows = two.outputs.rows.with_name("other.parquet")

    def interrupted(store):
        store.save(0, {"a.json": 1})
        raise InterruptedError

    with pytest.raises(InterruptedError), resuming.store(one) as store:
        interrupted(store)
    with resuming.store(two) as store:
        assert store.load(0) is None
    with resuming.store(one) as store:
        assert store.load(0) == {"a.json": 1}


def test_shards_lie_outside_the_results_wherever_the_output_is(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with resuming.store(job(tmp_path)) as store:
        store.save(0, {"a.json": 1})
        assert store.folder.resolve().is_relative_to(tmp_path / "elsewhere" / ".resume")


def test_a_changed_or_unfinished_shard_is_computed_again(tmp_path, capsys):
    store = resuming.Store(tmp_path)
    frame = pd.DataFrame({"x": [1.5], "tokens": [["a", "b"]]})
    store.save(0, {"t.parquet": frame})
    pd.testing.assert_frame_equal(store.load(0)["t.parquet"], frame)
    (tmp_path / "0000.t.parquet").write_bytes(b"half")
    assert store.load(0) is None and "computed again" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    io.write(tmp_path / "0001.t.parquet", frame)  # killed before its hashes were written
    assert store.load(1) is None and store.latest() == (0, None)


def test_a_running_sum_keeps_its_last_state_only(tmp_path):
    store = resuming.Store(tmp_path)
    assert store.latest() == (0, None)
    for i in range(3):
        store.save(i, {"s.safetensors": ({"a": torch.full((2,), float(i))}, {"count": i})}, keep_earlier=False)
        assert len(list(tmp_path.iterdir())) == 2
    done, state = store.latest()
    tensors, metadata = state["s.safetensors"]
    assert done == 3 and metadata == {"count": 2} and tensors["a"].tolist() == [2.0, 2.0]


def test_what_was_measured_at_first_holds_for_the_run(tmp_path):
    assert resuming.Store(tmp_path).first_value("budget", 5) == 5
    assert resuming.Store(tmp_path).first_value("budget", 7) == 5
    assert resuming.Store().first_value("budget", 7) == 7


@pytest.mark.parametrize("count", [1, 3, 10, 40])
def test_parts_are_consecutive_and_none_is_empty(count):
    found = resuming.split(list(range(10)), count)
    assert [one for part in found for one in part] == list(range(10)) and all(found) and len(found) == min(count, 10)
    assert max(map(len, found)) - min(map(len, found)) <= 1
    with pytest.raises(ValueError, match="must be positive"):
        resuming.split([1], 0)
