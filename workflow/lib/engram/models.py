"""Language models: loading, and a table that says where each architecture keeps its parts.

Shapes: d = width of the residual stream, D = width of the keys (input of the MLP's last projection), V = vocabulary.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

logging.disable_progress_bar()


@dataclass(frozen=True)
class Architecture:
    """Module names of one architecture; `{}` is the layer."""

    block: str
    attn: str
    mlp: str
    value: str  # the MLP's last projection: keys go in, values come out
    embed: str
    norm: str  # before the head
    head: str
    conv1d: bool = False  # weights stored [in, out] (GPT-2) instead of [out, in]
    block_tuple: bool = False  # a block returns a tuple instead of a tensor


_LLAMA = Architecture("model.layers.{}", "model.layers.{}.self_attn", "model.layers.{}.mlp",
                      "model.layers.{}.mlp.down_proj", "model.embed_tokens", "model.norm", "lm_head")
ARCHITECTURES = {
    "gpt2": Architecture("transformer.h.{}", "transformer.h.{}.attn", "transformer.h.{}.mlp",
                         "transformer.h.{}.mlp.c_proj", "transformer.wte", "transformer.ln_f", "lm_head", conv1d=True),
    "gptj": Architecture("transformer.h.{}", "transformer.h.{}.attn", "transformer.h.{}.mlp",
                         "transformer.h.{}.mlp.fc_out", "transformer.wte", "transformer.ln_f", "lm_head",
                         block_tuple=True),
    "gpt_neox": Architecture("gpt_neox.layers.{}", "gpt_neox.layers.{}.attention", "gpt_neox.layers.{}.mlp",
                             "gpt_neox.layers.{}.mlp.dense_4h_to_h", "gpt_neox.embed_in", "gpt_neox.final_layer_norm",
                             "lm_head"),
    "llama": _LLAMA,
}


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
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def hidden(self, ids: torch.Tensor, **kwargs) -> torch.Tensor:
        """Hidden states [B, T, d] after the final norm, ready for the head; `ids` [B, T]."""
        return self.model.base_model(input_ids=ids, use_cache=False, **kwargs).last_hidden_state

    def module(self, part: str, layer: int | None = None) -> torch.nn.Module:
        """The module of `part` (a field of Architecture, e.g. "mlp") in `layer`."""
        return self.model.get_submodule(getattr(self.arch, part).format(layer))

    def value_weight(self, layer: int) -> torch.Tensor:
        """W of the MLP's last projection as [d, D], whatever way it is stored (a view: writing to it edits the model)."""
        weight = self.module("value", layer).weight
        return weight.T if self.arch.conv1d else weight

    def key_width(self, layer: int) -> int:
        return self.value_weight(layer).shape[1]


def open_lm(job, device) -> LM:
    """The model of a stage: from the folder of its input `weights` if it was trained here, else from the hub."""
    block = job.config["model"]
    if job.inputs.weights is not None:
        return load(block["name"], job.inputs.weights.parent, device)
    return load(block["name"], block["hub"], device, block["revision"])


def load(name: str, place: str | Path, device="cpu", revision: str | None = None, dtype=torch.float32) -> LM:
    """Load a model from a folder written by save_pretrained, or from the hub at a pinned revision.

    Safetensors only, no remote code. ValueError for an architecture without a row in ARCHITECTURES.
    """
    tokenizer = AutoTokenizer.from_pretrained(place, revision=revision, use_fast=True, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(place, revision=revision, dtype=dtype, use_safetensors=True,
                                                 trust_remote_code=False)
    return wrap(name, model.to(device), tokenizer)


def wrap(name: str, model, tokenizer) -> LM:
    """The LM of a model in memory: eval mode, gradients off."""
    kind = model.config.model_type
    if kind not in ARCHITECTURES:
        raise ValueError(f"model {name}: no row for model_type {kind!r} in engram.models.ARCHITECTURES; "
                         f"known are {sorted(ARCHITECTURES)}")
    return LM(name, model.eval().requires_grad_(False), tokenizer, ARCHITECTURES[kind])
