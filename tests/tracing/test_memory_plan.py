"""Batches of prompts: they agree with the oracle and with prompts alone, fit into memory as predicted, and survive a
kill.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import toy
from crossed import crossed
from engram.job import io, resuming, schemas
from engram.model import checkpoints
from engram.settings import execution
from engram.tracing import causal_trace, memory_plan, restoration
from repository import ROOT
from traced_prompts import CONFIG, NOISE, SAME_LENGTH, TOLERANCE, expected, rows_of, table, trace_all, trace_prompt


def forecast(lm, config=CONFIG):
    return memory_plan.Forecast(lm, restoration.restorations(config.sites, 2, lm.layers), config.samples)


def shapes(lm, rows, config=CONFIG):
    return {row.prompt_id: causal_trace.prepare(lm, row, config).shape for row in rows}


@pytest.mark.parametrize(("kind", "dtype"), crossed(TOLERANCE))
def test_prompts_together_agree_with_the_oracle_and_with_prompts_alone(kind, dtype):
    lm = toy.lm(kind, dtype)
    rows = rows_of(lm, SAME_LENGTH)
    tolerance = 1e-6 if kind in ("gptj", "gemma2") else TOLERANCE[dtype]  # whose attention is computed in float32
    together = trace_all(lm, rows, NOISE, CONFIG, 2, 0)
    assert len({about["subject_begin"] for _, about in together}) == 3
    for row, (scores, about) in zip(rows, together):
        alone, also = trace_prompt(lm, row, NOISE, CONFIG, 2, 0)
        assert about["prompt_id"] == row.prompt_id and about["tokens"] == also["tokens"]
        assert abs(about["clean"] - also["clean"]) <= tolerance
        for site in CONFIG.sites:
            np.testing.assert_allclose(scores[site], alone[site], rtol=0, atol=tolerance)
    base, slow = expected(lm, rows[0], CONFIG, 2)
    for site in CONFIG.sites:
        np.testing.assert_allclose(together[0][0][site], slow[site], rtol=0, atol=tolerance, err_msg=site)
    assert abs(together[0][1]["corrupted"] - base[1:].mean().item()) <= tolerance


def test_in_batches_neither_order_nor_shards_change_a_bit_and_memory_only_rounding():
    lm, config = toy.lm(), replace(CONFIG, batch=2, sites=("mlp", "no_attn"))
    effects, prompts = causal_trace.trace(lm, table(lm), NOISE, config, 2, 0)
    for count in (2, 3):
        again = causal_trace.trace(lm, table(lm), NOISE, config, 2, 0, resuming.Store(count=count))
        for found, wanted in zip(again, (effects, prompts)):
            pd.testing.assert_frame_equal(found, wanted)
    turned, _ = causal_trace.trace(lm, table(lm).iloc[::-1], NOISE, config, 2, 0)
    keys = ["prompt_id", "site", "token", "layer"]
    pd.testing.assert_frame_equal(*(each.sort_values(keys, ignore_index=True) for each in (effects, turned)))
    for other in (replace(config, batch=1), replace(config, batch=3), replace(config, batch=5, memory=4e-4)):
        found, _ = causal_trace.trace(lm, table(lm), NOISE, other, 2, 0)
        pd.testing.assert_frame_equal(found, effects, check_exact=False, rtol=0, atol=1e-6)


def test_one_token_alone_goes_in_batches_of_the_same_token():
    lm, config = toy.lm("gpt2", torch.float64), replace(CONFIG, tokens="subject_last", precision="float64")
    alone, _ = causal_trace.trace(lm, table(lm), NOISE, config, 2, 0)
    together, _ = causal_trace.trace(lm, table(lm), NOISE, replace(config, batch=4), 2, 0)
    pd.testing.assert_frame_equal(alone, together, check_exact=False, rtol=0, atol=1e-11)
    assert len(alone) == 5 * lm.layers * len(CONFIG.sites)


def test_batches_hold_prompts_of_one_length_and_as_many_as_fit():
    lm = toy.lm(layers=2)
    ahead, known = forecast(lm), shapes(lm, rows_of(lm))
    plan = memory_plan.plan(ahead, known, 16, 2**30)
    assert sorted(map(sorted, plan.groups)) == [[0, 1, 2], [3], [4]] and plan.size == len(ahead.todo)
    assert plan.tokens == 6 and plan.sweeps == 3
    two = ahead.peak([known[1], known[1]], None, 1)
    assert max(map(len, memory_plan.plan(ahead, known, 16, two).groups)) == 2
    one = ahead.peak([known[1]], None, 1)
    plan = memory_plan.plan(ahead, known, 16, one - 1)
    assert max(map(len, plan.groups)) == 1 and plan.size < len(ahead.todo) and plan.peak < one
    assert memory_plan.plan(ahead, known, 1, 2**30).groups == [[0], [1], [2], [3], [4]]


def test_a_sweep_holds_as_many_tokens_as_fit():
    lm = toy.lm(layers=2)
    ahead, known = forecast(lm), {1: shapes(lm, rows_of(lm))[1]}
    assert ahead.most_rows(2) == memory_plan.CPU_BATCH // (2 * CONFIG.samples * lm.width * 4)
    ahead.kind = "cuda"
    least, most = (ahead.peak([known[1]], None, rows) for rows in (1, None))
    plans = [memory_plan.plan(ahead, known, 1, limit) for limit in (least, (least + most) // 2, most)]
    assert (
        plans[0].tokens < plans[1].tokens < plans[2].tokens == 6
        and plans[0].sweeps > plans[1].sweeps > plans[2].sweeps == 1
    )
    assert plans[0].peak <= least < plans[1].peak <= (least + most) // 2 < plans[2].peak == most


def test_the_predicted_peak_is_the_largest_of_all_groups():
    lm, limit = toy.lm(layers=2), 800_000
    ahead, known = (
        forecast(lm),
        {
            i: memory_plan.Shape(length, begin, tuple(range(length)))
            for i, (length, begin) in enumerate([(9, 0), (9, 2), (9, 6), (8, 0), (10, 7)])
        },
    )
    plan = memory_plan.plan(ahead, known, 3, limit)
    peaks = [ahead.peak([known[name] for name in group], plan.size, plan.rows) for group in plan.groups]
    assert plan.tokens > 1 and max(map(len, plan.groups)) > 1 and plan.sweeps > len(plan.groups)
    assert plan.peak == max(peaks) <= limit


@pytest.mark.parametrize(
    ("kind", "case"),
    crossed(
        [(SAME_LENGTH[1:2], None, 1), (SAME_LENGTH, None, None), (SAME_LENGTH, None, 20), (SAME_LENGTH[:1], 3, None)]
    ),
)
def test_the_predicted_peak_is_that_of_the_tensors(kind, case):
    lm, config, (texts, size, together) = toy.lm(kind), replace(CONFIG, samples=5), case
    todo = restoration.restorations(config.sites, 2, lm.layers)
    group = [causal_trace.prepare(lm, row, config) for row in rows_of(lm, texts)]
    with memory_plan.Peak() as peak:
        causal_trace.trace_group(lm, group, NOISE, config, todo, 0, size, together)
    said = forecast(lm, config).peak([prompt.shape for prompt in group], size, together)
    assert said == pytest.approx(peak.most, rel=0.02 if kind.startswith("opt") else 0.01)


def test_the_predicted_peak_is_that_of_the_process():
    """In a fresh process: what it grows by while it traces is what it said it would take, and so is what it holds in
    all.

    The C library is told to return freed memory at once; otherwise it keeps some, 0.1 GiB more in this test.
    """
    code = """if True:
        import re
        from pathlib import Path
        import toy
        import torch
        from engram.tracing import causal_trace, noise
        from traced_prompts import table

        def most():  # of this program alone; ru_maxrss would start with what the test's own process holds
            return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

        torch.set_num_threads(1)
        lm = toy.lm(width=256, layers=3)
        rows, small = table(lm), causal_trace.Config(9, 1, ("hidden", "mlp"))
        causal_trace.trace(lm, rows, noise.Noise("std", 0.8), small, 2, 0)  # libraries are loaded
        before = most()
        large = causal_trace.Config(9, 400, ("hidden", "mlp"), batch=3)
        causal_trace.trace(lm, rows.head(3), noise.Noise("std", 0.8), large, 2, 0)
        print((most() - before) / 2**20, most() / 2**20)
        """
    paths = sys.path
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(paths),
            "OMP_NUM_THREADS": "1",
            "MALLOC_MMAP_THRESHOLD_": "65536",
            "MALLOC_TRIM_THRESHOLD_": "0",
        },
    )
    said = done.stderr.rsplit("predicted peak memory ", 1)[1]
    tensors, process = float(said.split(" GiB")[0]), float(said.split("process ")[1].split(" GiB")[0])
    growth, whole = map(float, done.stdout.split())
    assert tensors > 0.2 and tensors == pytest.approx(growth, rel=0.2) and process == pytest.approx(whole, rel=0.2)


def test_a_prompt_that_does_not_fit_says_how_much_it_needs():
    lm = toy.lm()
    need = forecast(lm).peak([shapes(lm, rows_of(lm))[4]], 1, 1)
    with pytest.raises(
        ValueError, match=rf"prompt 4, 7 tokens: tracing it needs {need / 2**30:.3g} GiB .*trace.memory"
    ):
        causal_trace.trace(lm, table(lm), NOISE, replace(CONFIG, memory=1e-6), 2, 0)


def test_what_is_predicted_is_said_before_the_run(capsys):
    causal_trace.trace(toy.lm(), table(toy.lm()), NOISE, replace(CONFIG, batch=3, memory=1.5), 2, 0)
    said = capsys.readouterr().err
    assert "predicted peak memory 0.00" in said and "(1.5 GiB are given)" in said
    assert "up to 6 tokens and 3 prompts, 3 sweeps" in said and "5/5" in said and "prompt/s" in said


def test_resumed_tables_are_those_of_one_run(tmp_path, monkeypatch):
    lm, config = toy.lm(), CONFIG
    whole = causal_trace.trace(lm, table(lm), NOISE, config, 2, 0)
    real, traced = causal_trace.trace_group, []

    def failing(lm, group, *args):
        if len(traced) == 3:
            raise InterruptedError
        traced.append(group)
        return real(lm, group, *args)

    monkeypatch.setattr(causal_trace, "trace_group", failing)
    with pytest.raises(InterruptedError):
        causal_trace.trace(lm, table(lm), NOISE, config, 2, 0, resuming.Store(tmp_path, 5))
    monkeypatch.setattr(causal_trace, "trace_group", lambda *args: traced.append(args[1]) or real(*args))
    resumed = causal_trace.trace(lm, table(lm), NOISE, config, 2, 0, resuming.Store(tmp_path, 5))
    assert len(traced) == 5
    for found, wanted in zip(resumed, whole):
        pd.testing.assert_frame_equal(found, wanted)


def test_a_killed_script_started_again_writes_the_bytes_of_one_that_was_not(tmp_path):
    lm = toy.lm()
    script = ROOT / "workflow" / "scripts" / "trace.py"
    lm.model.save_pretrained(tmp_path / "model")
    lm.tokenizer.save_pretrained(tmp_path / "model")
    source = checkpoints.Source("trained", "toy")
    about = checkpoints.manifest("toy", source, tmp_path / "model", lm.model, lm.tokenizer)
    io.write(tmp_path / "manifest.json", about)
    known = pd.concat([table(lm).assign(prompt_id=i + 5 * np.arange(5)) for i in range(5)], ignore_index=True)
    known = known.assign(model="toy", relation_id="P1", target_true="x", probability=0.5)
    known[[column.name for column in schemas.KNOWN_PROMPTS.schema]].to_parquet(tmp_path / "prompts.parquet")
    measured = {"embedding_std": 1.0, "count": 32, "subjects": 1}
    corruption = {"rule": "0.8", "kind": "number", "sigma": 0.8, "degrees": None} | measured
    (tmp_path / "noise.json").write_text(json.dumps(corruption))
    io.write(tmp_path / "noise.safetensors", {})
    config = {
        "seed": 0,
        "run": {"threads": 1, "device": "cpu"},
        "model": {"name": "toy", "trace_window": 2},
        "trace": {"prompts": 25, "samples": 10, "sites": ["hidden", "mlp", "attn"]},
    }

    def start(folder):
        (tmp_path / folder).mkdir(exist_ok=True)
        argv = {
            "prompts": "../prompts.parquet",
            "noise": "../noise.json",
            "vectors": "../noise.safetensors",
            "manifest": "../manifest.json",
            "weights": "../model/model.safetensors",
            "effects": "results/trace/toy/main/effects.parquet",
            "traced": "results/trace/toy/main/prompts.parquet",
            "model": "toy",
            "variant": "main",
            "config": json.dumps(config),
        }
        words = [word for flag, value in argv.items() for word in (f"--{flag}", value)]
        return subprocess.Popen(
            [sys.executable, str(script), *words],
            cwd=tmp_path / folder,
            env=os.environ | {execution.VARIABLE: json.dumps({"shards": {"trace": 12}})},
            stderr=subprocess.PIPE,
            text=True,
        )

    whole, killed = start("whole"), start("killed")
    while killed.poll() is None and not list(
        (tmp_path / "killed").glob(".resume/results/trace/toy/main/*/*/0003.json")
    ):
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL and not (tmp_path / "killed/results").exists()
    again = start("killed")
    said = again.communicate()[1]
    assert again.returncode == 0 and whole.wait() == 0
    assert " 0/25" not in said.split("predicted")[1]  # the bar starts where the killed run stopped
    for name in ("effects.parquet", "prompts.parquet"):
        one, two = (
            (tmp_path / folder / "results/trace/toy/main" / name).read_bytes() for folder in ("whole", "killed")
        )
        assert one == two
    assert not (tmp_path / "killed/.resume/results").exists()
