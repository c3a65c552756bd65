"""Loading a language model, and the model with its tokenizer and its row of the table of architectures.

Shapes: d = width of the residual stream, D = width of the keys (input of the MLP's last projection), V = vocabulary.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from engram.model import opt, placement
from engram.model.architectures import Architecture, architecture_of

logging.disable_progress_bar()

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
CLASSES = {"opt": opt.OPTForCausalLM}  # what is loaded in the place of transformers' own class


@dataclass(frozen=True)
class LM:
    """A causal language model in eval mode with its tokenizer and its row of the architecture table."""

    name: str
    model: torch.nn.Module
    tokenizer: object
    arch: Architecture

    @property
    def layers(self) -> int:
        return self.model.config.num_hidden_layers

    @property
    def width(self) -> int:
        return self.model.config.hidden_size

    @property
    def embed_width(self) -> int:
        """Width of the token embeddings: that of the residual stream, but for an OPT that projects them."""
        return self.module("embed").weight.shape[1]

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def hidden(self, ids: torch.Tensor, **kwargs) -> torch.Tensor:
        """Hidden states [B, T, d] after the final norm, ready for the head; `ids` [B, T]."""
        return self.model.base_model(input_ids=ids, use_cache=False, **kwargs).last_hidden_state

    def final(self, x: torch.Tensor) -> torch.Tensor:
        """What the head reads [.., h] of the last block's output x [.., d]: normed, and projected where its width
        differs.
        """
        for name in (self.arch.norm, self.arch.project):
            module = name and _there(self.model, name)
            x = module(x) if module is not None else x
        return x

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits [.., V] of what `hidden` or `final` returned."""
        found = self.module("head")(hidden)
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return found if cap is None else cap * torch.tanh(found / cap)

    def module(self, part: str, layer: int | None = None) -> torch.nn.Module:
        """The module of `part` (a field of Architecture, e.g. "mlp") in `layer`."""
        return self.model.get_submodule(getattr(self.arch, part).format(layer))

    def value_weight(self, layer: int) -> torch.Tensor:
        """W of the MLP's last projection as [d, D], whatever way it is stored (a view: writing to it edits the
        model).
        """
        weight = self.module("value", layer).weight
        return weight.T if self.arch.conv1d else weight

    def key_width(self, layer: int) -> int:
        return self.value_weight(layer).shape[1]


def open_lm(job, device) -> LM:
    """The model of a stage: from the folder of its input `weights` if it was trained here, else from the hub."""
    block = job.config["model"]
    more = {"dtype": DTYPES[block.get("dtype", "float32")], "devices": block.get("devices", "one")}
    if job.inputs.weights is not None:
        return load(block["name"], job.inputs.weights.parent, device, **more)
    return load(block["name"], block["hub"], device, block["revision"], **more)


def load(
    name: str, place: str | Path, device="cpu", revision: str | None = None, dtype=torch.float32, devices: str = "one"
) -> LM:
    """Load a model from a folder written by save_pretrained, or from the hub at a pinned revision.

    Safetensors only, no remote code. ValueError for an architecture without a row in ARCHITECTURES, before its weights
    are read. `devices`: one, which is `device`, or auto: spread over all GPUs (engram.model.placement).
    """
    where = {"revision": revision, "trust_remote_code": False}
    kind = AutoConfig.from_pretrained(place, **where).model_type
    architecture_of(name, kind)
    spread = placement.spread_options(name, device) if devices == "auto" else {}
    tokenizer = AutoTokenizer.from_pretrained(place, use_fast=True, **where)
    model = CLASSES.get(kind, AutoModelForCausalLM).from_pretrained(
        place, dtype=dtype, use_safetensors=True, **where, **spread
    )
    return wrap(name, placement.joined(model) if spread else model.to(device), tokenizer)


def wrap(name: str, model, tokenizer) -> LM:
    """The LM of a model in memory: eval mode, gradients off."""
    kind = model.config.model_type
    arch = architecture_of(name, kind)
    if not isinstance(model, CLASSES.get(kind, torch.nn.Module)):
        raise ValueError(
            f"model {name}: a {type(model).__module__}.{type(model).__name__}; right is the one in "
            "engram.model.loading.CLASSES, which `load` takes"
        )
    return LM(name, model.eval().requires_grad_(False), tokenizer, arch)


def _there(model, path: str):
    """The module at `path`, or None where the model has None there."""
    parent, _, name = path.rpartition(".")
    return getattr(model.get_submodule(parent), name)
