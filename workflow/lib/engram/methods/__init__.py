"""One editor per file: `NEEDS` (the artifacts it reads), `Settings`, and `edit(lm, facts, settings, aids) -> list[Delta]`."""

from dataclasses import dataclass
from importlib import import_module

import torch

from engram import config
from engram.covariance import Moment


@dataclass(frozen=True)
class Aids:
    """What a method may need besides the model; None or empty where its NEEDS do not name it."""

    contexts: tuple[str, ...] = ()
    moments: dict[int, Moment] | None = None
    targets: torch.Tensor | None = None  # v* [F, d], in the order of the facts


def load(name: str):
    """The module of method `name` (dashes are underscores in the file name)."""
    return import_module(f"engram.methods.{name.replace('-', '_')}")


def settings(block: dict):
    """The `Settings` of the method that `block` names, from its other keys (hyperparameters in params.yaml)."""
    values = {key: value for key, value in block.items() if key != "name"}
    return config.build(load(block["name"]).Settings, values, f"methods.{block['name']}")
