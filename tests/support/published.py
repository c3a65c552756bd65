"""Checkpoints as others publish them: a folder with some of its tensors changed, a cache of the hub, and their jobs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch

import toy
from engram.job import arguments
from repository import ROOT, module_of

RUN = {"threads": 1, "device": "cpu"}
WEIGHTS = "model.safetensors"
State = dict[str, torch.Tensor]


def copy_of(kind: str, folder: Path) -> Path:
    """A copy of the toy checkpoint of an architecture."""
    return Path(shutil.copytree(toy._folder(kind).name, folder, ignore=shutil.ignore_patterns("manifest")))


def change(folder: Path, how: Callable[[State], object]) -> None:
    """Let `how` change the tensors of a checkpoint; the file keeps its name."""
    state = safetensors.torch.load_file(folder / WEIGHTS)
    how(state)
    safetensors.torch.save_file(state, folder / WEIGHTS, {"format": "pt"})


def other_values(state: State) -> None:
    """One number of one tensor is another; all names, types and shapes stay."""
    state[min(state)].view(-1)[0] += 1


def set_key(path: Path, **keys) -> None:
    """Change keys of a json file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def snapshot(cache: Path, source: Path, commit: str, name: str = "x/y") -> Path:
    """A commit of a repository in a cache of the hub, with files and blobs as they lie there; main is this commit."""
    base = cache / f"models--{name.replace('/', '--')}"
    folder = base / "snapshots" / commit
    folder.mkdir(parents=True)
    (base / "blobs").mkdir(exist_ok=True)
    for file in source.iterdir():
        blob = base / "blobs" / f"{commit[:4]}-{file.name}"
        shutil.copy(file, blob)
        (folder / file.name).symlink_to(f"../../blobs/{blob.name}")
    (base / "refs").mkdir(exist_ok=True)
    (base / "refs" / "main").write_text(commit)
    return folder


def run(stage: str, folder: Path, block: dict, outputs: dict[str, str], **inputs) -> dict[str, Path]:
    """Run the script of a stage for a model `x` with the keys `block`; its outputs, which lie in `folder`."""
    made = {name: folder / file for name, file in outputs.items()}
    words: list[object] = ["--model", "x"]
    for name, value in (inputs | made).items():
        words += [f"--{name.replace('_', '-')}", *(value if isinstance(value, list) else [value])]
    config = {"seed": 0, "run": RUN, "model": {"name": "x"} | block}
    try:
        module_of(ROOT / "workflow/scripts" / f"{stage}.py").main([*map(str, words), "--config", json.dumps(config)])
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(1)
    return made


def manifest(folder: Path, block: dict, **inputs) -> Path:
    """The manifest that stage `checkpoint` writes into `folder`."""
    return run("checkpoint", folder, block, {"manifest": "manifest.json"}, **inputs)["manifest"]


def convert(folder: Path, block: dict, *files: Path) -> dict[str, Path]:
    """What stage `convert` writes into `folder`."""
    made = {
        "weights": WEIGHTS,
        "model_config": "config.json",
        "generation_config": "generation_config.json",
        "tokenizer": "tokenizer.json",
        "tokenizer_config": "tokenizer_config.json",
        "origin": "origin.json",
    }
    return run("convert", folder, block, made, files=list(files))


def job(block: dict, manifest: Path, weights: Path | None = None) -> arguments.Job:
    """The job of a stage that reads the model `x`."""
    words = ["--manifest", str(manifest), *(["--weights", str(weights)] if weights else [])]
    config = json.dumps({"model": {"name": "x"} | block})
    script = str(ROOT / "workflow/scripts/known.py")
    return arguments.parse(script, "", [*words, "--config", config], inputs=["manifest", "weights?"])
