"""Stage `hypernet` through its command line, on a toy model and a small world."""

import json
from pathlib import Path

import pandas as pd
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import toy
from engram.datasets import world
from engram.job import io
from engram.model import checkpoints, loading
from repository import ROOT, module_of

WORLD = {
    "kind": "world",
    "subjects": 20,
    "relations": 2,
    "objects": 4,
    "documents": 40,
    "articles": 30,
    "listed": 0.5,
    "four_words": 0.5,
}


DATA = {"records": 12, "validation": 4, "text_tokens": 20, "prompt_tokens": 8, "completion": 4, "top_k": 5}


TRAINING = {
    "steps": 9,
    "edits": 3,
    "interval": 3,
    "patience": 50,
    "rate": 0.001,
    "edit_rate": 0.001,
    "edit_weight": 1.0,
    "locality_weight": 0.1,
    "clip": 100.0,
}


NETWORKS = {
    "mend": {"layers": 2, "rank": 8, "hidden_layers": 1, "edit_rate": 0.01},
    "ke": {"layers": 2, "hidden": 12, "condition": 8, "max_scale": 1.0},
}


COUNT = 5


def section(net, task):
    return {"net": net, "task": task, "network": NETWORKS[net], "data": DATA, "training": TRAINING}


def inputs_in(base: Path) -> dict[str, Path]:
    """A toy model on disk, the tables of a small world, of which it is said to know every second fact."""
    torch.manual_seed(0)
    GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(toy.tokenizer()), n_positions=160, n_embd=16, n_layer=3, n_head=2, initializer_range=0.3
        )
    ).save_pretrained(base / "model")
    toy.tokenizer().save_pretrained(base / "model")
    tables = world.tables(WORLD, 0)
    found = {"weights": base / "model" / "model.safetensors", "manifest": base / "manifest.json"}
    lm = loading.load("toy", base / "model")
    source = checkpoints.Source("trained", "toy")
    io.write(found["manifest"], checkpoints.manifest("toy", source, base / "model", lm.model, lm.tokenizer))
    for name in ("facts", "zsre", "text"):
        io.write(base / f"{name}.parquet", tables[name])
        found[name] = base / f"{name}.parquet"
    for name in ("facts", "zsre"):
        known = pd.DataFrame({"model": "toy", "case_id": tables[name]["case_id"]})
        known = known.assign(correct=[i % 2 == 0 for i in range(len(known))], probability=0.5)
        io.write(base / f"known-{name}.parquet", known)
        found[f"known-{name}"] = base / f"known-{name}.parquet"
    return found


def run(inputs, out, name, block):
    module = module_of(ROOT / "workflow" / "scripts" / "hypernet.py")
    config = {
        "seed": 0,
        "run": {"threads": 1, "device": "cpu"},
        "hypernet": block,
        "model": {"name": "toy", "records": {"count": COUNT, "only_known": True}},
    }
    outputs = {"hypernet": out / f"{name}.safetensors", "loss": out / f"{name}.csv"}
    argv = [
        word
        for flag, value in (inputs | outputs | {"model": "toy", "name": name}).items()
        for word in (f"--{flag}", value)
    ]
    try:
        module.main([*argv, "--config", json.dumps(config)])
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(1)
    return outputs
