"""One fact on models of every architecture: second moments of real text, and outputs read in a plain forward."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch

from closed_form_oracles import Aids
from engram.editing import covariance
from engram.editing.facts import Fact
from engram.job import io
from engram.model import checkpoints, loading
from engram.model.hooks import captured
from toy import LONG, PROMPTS

FACT = Fact(3, PROMPTS[0][1], "He said: {} premieres on", "French")


CONTEXTS = ("{}", "Zürich is. {}", "He plays the. {}")


def ids_of(model, text=PROMPTS[0][0]):
    return torch.tensor([model.tokenizer(text)["input_ids"]])


def aids_of(model, layer):
    counted = covariance.second_moments(model, [layer], LONG, 40, 400)
    draw = torch.randn(model.width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Aids(contexts=CONTEXTS, moments={layer: replace(counted[layer], ridge=0.01)}, targets={FACT.case_id: draw})


def outputs_of(model, layer):
    """Of the bare prompt in a plain forward, at the last subject token: key, MLP output and block output."""
    text = FACT.prompt.replace("{}", FACT.subject)
    upto = FACT.prompt.index("{}") + len(FACT.subject)
    at = len(model.tokenizer(text[:upto])["input_ids"]) - 1  # the subject ends where the text up to it does
    modules = {"mlp": model.module("mlp", layer), "block": model.module("block", layer)}
    with captured(modules) as out, captured({"key": model.module("value", layer)}, "input") as keys, torch.no_grad():
        model.model(input_ids=ids_of(model, text))
    return keys["key"][0, at], out["mlp"][0, at], out["block"][0, at]


def job_of(place, **more):
    """A job with a model that lies in the folder `place`, and its manifest."""
    block = {"name": "x", "hub": str(place), "revision": "main"} | more
    path = Path(place, "manifest", f"{block.get('dtype', 'float32')}.json")
    if not path.exists():
        lm = loading.load("x", place, dtype=loading.DTYPES[block.get("dtype", "float32")])
        source = checkpoints.source_of(block)
        io.write(path, checkpoints.manifest("x", source, Path(place), lm.model, lm.tokenizer))
    return SimpleNamespace(
        config={"model": block}, inputs=SimpleNamespace(weights=None, manifest=path), hashed_inputs=list
    )
