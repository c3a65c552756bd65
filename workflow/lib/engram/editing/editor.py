"""An editor by its name: its file in methods/, its settings, what it may need besides the model, the changes that it makes."""

from dataclasses import dataclass, field
from importlib import import_module

import torch

from engram.editing.second_moment import Moment
from engram.model.delta import Delta
from engram.settings import config


@dataclass(frozen=True)
class Aids:
    """What a method may need besides the model; None or empty where its NEEDS do not name it."""

    contexts: tuple[str, ...] = ()  # templates, the bare "{}" first
    moments: dict[int, Moment] | None = None  # by layer
    targets: dict[int, torch.Tensor] | None = None  # v* or z [d] by case_id
    hypernet: tuple[dict, dict] | None = None  # tensors and metadata of a trained editor
    earlier: dict[int, torch.Tensor] = field(default_factory=dict)  # K_pK_pᵀ by layer, of the batches before


def load(method: str | dict):
    """The module of a method, by the name of its file (dashes are underscores there) or by its block, as `settings`."""
    name = method if isinstance(method, str) else method.get("method", method["name"])
    return import_module(f"engram.methods.{name.replace('-', '_')}")


def settings(block: dict):
    """The `Settings` of the method that `block` names, from its hyperparameters: `name`, and `method`, the file if that
    has another name (`ft-l` is a variant of `ft`), are not among them.
    """
    values = {key: value for key, value in block.items() if key not in ("name", "method")}
    return config.build(load(block).Settings, values, f"methods.{block['name']}")


def deltas(name: str | dict, lm, facts: list, settings, aids: Aids, n: int = 1) -> list[Delta]:
    """The change that each fact is read with: `n` facts in a row are edited together, those of the last group may be
    fewer.

    With `n` 1 every fact meets a fresh model.
    """
    method = load(name)
    if n == 1 and hasattr(method, "edit_each"):
        return method.edit_each(lm, facts, settings, aids)
    found = []
    for start in range(0, len(facts), n):
        group = facts[start : start + n]
        found += [method.edit(lm, group, settings, aids)] * len(group)
    return found
