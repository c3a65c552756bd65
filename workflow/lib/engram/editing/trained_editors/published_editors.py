"""Editors that the authors of ROME trained for GPT-2 XL and GPT-J (`mend-*.pt`, `efk-*.pt`), as artifacts of ours.

ASSUME: the names of the tensors follow from the structure of MEND's public code (its modules and parameters); no such
file was at hand. So a file is used only if it holds exactly the tensors expected here, in exactly these shapes.
"""

import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPTJConfig

from engram.editing.trained_editors import ke_network, mend_network
from engram.editing.trained_editors.editors import Shapes, shapes_of
from engram.model.loading import LM

PARTS = {"up": "u", "down": "v", "bias": "bias", "scale": "mode_scale.weight", "offset": "mode_shift.weight"}
LSTM = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
CONDITIONER = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
    "bias": "bias",
}


def load(path: Path, lm: LM, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and metadata of the published "mend" or "ke" in the file `path`, as `editors.restore` takes them.

    Only tensors, plain containers and the configurations of the two models are unpickled, nothing that could run.
    ValueError if the file holds anything else, or not the tensors of such an editor for `lm`.
    """
    with torch.serialization.safe_globals([GPT2Config, GPTJConfig]):
        try:
            archive = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise ValueError(
                f"{path}: cannot be loaded as tensors alone: {str(error).strip().splitlines()[0]}"
            ) from error
    if not isinstance(archive, dict) or not isinstance(archive.get("model"), dict):
        raise ValueError(f"{path}: no dictionary with the tensors of an editor under the key 'model'")
    published = {
        name.replace("gtn.", "mend.", 1) if name.startswith("gtn.") else name: value  # an older name of the same
        for name, value in archive["model"].items()
        if isinstance(value, torch.Tensor)
    }
    names = _Names(published, path)
    shapes = shapes_of(lm, 3)
    tensors, settings = _mend(names, shapes) if kind == "mend" else _ke(names, shapes)
    if unknown := sorted(set(published) - names.taken):
        raise ValueError(f"{path}: holds tensors that a published {kind} editor for {lm.name} has not: {unknown[:5]}")
    # on which records it was trained was never published
    about: dict[str, Any] = {
        "net": kind,
        "network": asdict(settings),
        "shapes": shapes,
        "task": "published",
        "case_id": None,
        "seen": [],
    }
    return tensors, about


class _Names(dict[str, torch.Tensor]):
    """The tensors of a published file by name, and which of them were taken."""

    def __init__(self, published: dict[str, torch.Tensor], path: Path) -> None:
        super().__init__(published)
        self.path = path
        self.taken: set[str] = set()

    def take(self, name: str, shape: tuple[int, ...] | None = None) -> torch.Tensor:
        """The tensor `name` in float32; ValueError if there is none, or not of `shape`."""
        if name not in self:
            raise ValueError(f"{self.path}: no tensor {name!r}; it is not a published editor of this kind and model")
        value = self[name]
        if shape is not None and tuple(value.shape) != shape:
            raise ValueError(f"{self.path}: tensor {name!r} has shape {tuple(value.shape)}, expected {shape}")
        self.taken.add(name)
        return value.float()


def _mend(names: _Names, shapes: Shapes) -> tuple[dict[str, torch.Tensor], mend_network.Network]:
    """Tensors and settings of a published MEND in our names.

    It has one network per shape, `mend.(in, out)`; u and v are normalised apart, here side by side.
    """
    count = {shape: list(shapes.values()).count(shape) for shape in shapes.values()}
    tensors = {"rates": -names.take("edit_lrs", (len(shapes),))}  # the published rates are added to the weights
    ranks: set[int] = set()
    for (out, into), modes in count.items():
        theirs, ours, width = f"mend.({into}, {out})", f"nets.{into}x{out}", into + out
        both = {
            name: torch.cat(
                [names.take(f"{theirs}.u_{name}", (into,)), names.take(f"{theirs}.v_{name}", (out,))]
            ).double()
            for name in ("mean", "s", "std")
        }  # std follows from s
        tensors[f"{ours}.statistics.count"] = names.take(f"{theirs}.k", (1,)).double()
        tensors |= {f"{ours}.statistics.mean": both["mean"], f"{ours}.statistics.square": both["s"]}
        for layer in range(2):
            rank = names.take(f"{theirs}.mlp.layers.{layer}.v").shape[0]
            ranks.add(rank)
            sizes: dict[str, tuple[int, ...]] = {
                "up": (width, rank),
                "down": (rank, width),
                "bias": (width,),
                "scale": (modes, width),
                "offset": (modes, width),
            }
            tensors |= {
                f"{ours}.layers.{layer}.{part}": names.take(f"{theirs}.mlp.layers.{layer}.{other}", sizes[part])
                for part, other in PARTS.items()
            }
    return tensors, mend_network.Network(layers=3, rank=max(ranks), hidden_layers=1)


def _ke(names: _Names, shapes: Shapes) -> tuple[dict[str, torch.Tensor], ke_network.Network]:
    """Tensors and settings of a published KE, the learner `editor`, in our names.

    Its conditioners give scale and shift in the order of ours for weights stored [in, out].
    """
    bottom = "editor.condition"
    tensors = {"reader.embedding.weight": names.take(f"{bottom}.embedding.weight")}
    for part in LSTM:
        for side in ("", "_reverse"):
            tensors[f"reader.lstm.{part}{side}"] = names.take(f"{bottom}.lstm._module.{part}{side}")
    for part in ("weight", "bias"):
        tensors[f"reader.linear.{part}"] = names.take(f"{bottom}.linear._linear_layers.0.{part}")
    for name, (out, into) in shapes.items():
        theirs = f"editor.conditioners.{ke_network.slot(name)}_conditioner.conditioners"
        for layer in (0, 2):
            for part, other in CONDITIONER.items():
                tensors[f"conditioners.{ke_network.slot(name)}.{layer}.{part}"] = names.take(
                    f"{theirs}.{layer}.{other}"
                )
        names.take(f"{theirs}.2.bias", (2 * (into + out) + 1,))
    condition, wide = tensors["reader.linear.weight"].shape
    return tensors, ke_network.Network(layers=3, hidden=wide // 2, condition=condition, max_scale=1.0)
