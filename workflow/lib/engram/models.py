"""Language models: loading, and a table that says where each architecture keeps its parts.

Shapes: d = width of the residual stream, D = width of the keys (input of the MLP's last projection), V = vocabulary.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from engram import opt, placement

logging.disable_progress_bar()


@dataclass(frozen=True)
class Architecture:
    """Module names of one architecture; `{}` is the layer. What is inside a block: engram.parts."""

    block: str
    attn: str
    mlp: str
    value: str  # the MLP's last projection: keys go in, values come out
    embed: str
    norm: str  # before the head; the module may be missing
    head: str
    qkv: tuple[str, ...]  # the projections in attn that make queries, keys and values
    maps: tuple[str, ...] = ()  # linear maps of the MLP where no module holds them (then mlp is the last one); else all in mlp
    project: str | None = None  # between norm and head; the module may be missing
    conv1d: bool = False  # weights stored [in, out] (GPT-2) instead of [out, in]
    block_tuple: bool = False  # a block returns a tuple instead of a tensor


_OPT = "model.decoder"
_LLAMA = Architecture("model.layers.{}", "model.layers.{}.self_attn", "model.layers.{}.mlp",
                      "model.layers.{}.mlp.down_proj", "model.embed_tokens", "model.norm", "lm_head",
                      ("q_proj", "k_proj", "v_proj"))
ARCHITECTURES = {
    "gpt2": Architecture("transformer.h.{}", "transformer.h.{}.attn", "transformer.h.{}.mlp",
                         "transformer.h.{}.mlp.c_proj", "transformer.wte", "transformer.ln_f", "lm_head",
                         ("c_attn",), conv1d=True),
    "gptj": Architecture("transformer.h.{}", "transformer.h.{}.attn", "transformer.h.{}.mlp",
                         "transformer.h.{}.mlp.fc_out", "transformer.wte", "transformer.ln_f", "lm_head",
                         ("q_proj", "k_proj", "v_proj"), block_tuple=True),
    "gpt_neox": Architecture("gpt_neox.layers.{}", "gpt_neox.layers.{}.attention", "gpt_neox.layers.{}.mlp",
                             "gpt_neox.layers.{}.mlp.dense_4h_to_h", "gpt_neox.embed_in", "gpt_neox.final_layer_norm",
                             "lm_head", ("query_key_value",)),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"), _LLAMA),
    "phi": replace(_LLAMA, value="model.layers.{}.mlp.fc2", norm="model.final_layernorm"),
    "phi3": replace(_LLAMA, qkv=("qkv_proj",)),
    "opt": Architecture(f"{_OPT}.layers.{{}}", f"{_OPT}.layers.{{}}.self_attn", f"{_OPT}.layers.{{}}.fc2",
                        f"{_OPT}.layers.{{}}.fc2", f"{_OPT}.embed_tokens", f"{_OPT}.final_layer_norm", "lm_head",
                        ("q_proj", "k_proj", "v_proj"), (f"{_OPT}.layers.{{}}.fc1", f"{_OPT}.layers.{{}}.fc2"),
                        f"{_OPT}.project_out"),
}
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
        """What the head reads [.., h] of the last block's output x [.., d]: normed, and projected where its width differs."""
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
        """W of the MLP's last projection as [d, D], whatever way it is stored (a view: writing to it edits the model)."""
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


def load(name: str, place: str | Path, device="cpu", revision: str | None = None, dtype=torch.float32,
         devices: str = "one") -> LM:
    """Load a model from a folder written by save_pretrained, or from the hub at a pinned revision.

    Safetensors only, no remote code. ValueError for an architecture without a row in ARCHITECTURES, before its weights are
    read. `devices`: one, which is `device`, or auto: spread over all GPUs (engram.placement).
    """
    where = {"revision": revision, "trust_remote_code": False}
    kind = AutoConfig.from_pretrained(place, **where).model_type
    row(name, kind)
    spread = placement.auto(name, device) if devices == "auto" else {}
    tokenizer = AutoTokenizer.from_pretrained(place, use_fast=True, **where)
    model = CLASSES.get(kind, AutoModelForCausalLM).from_pretrained(place, dtype=dtype, use_safetensors=True, **where, **spread)
    return wrap(name, placement.joined(model) if spread else model.to(device), tokenizer)


def wrap(name: str, model, tokenizer) -> LM:
    """The LM of a model in memory: eval mode, gradients off."""
    kind = model.config.model_type
    arch = row(name, kind)
    if not isinstance(model, CLASSES.get(kind, torch.nn.Module)):
        raise ValueError(f"model {name}: a {type(model).__module__}.{type(model).__name__}; right is the one in "
                         "engram.models.CLASSES, which `load` takes")
    return LM(name, model.eval().requires_grad_(False), tokenizer, arch)


def row(name: str, kind: str) -> Architecture:
    """The row of a model_type. ValueError, with what is to be added, if there is none."""
    if kind not in ARCHITECTURES:
        names = ", ".join(field.name for field in fields(Architecture))
        raise ValueError(f"model {name}: no row for model_type {kind!r} in engram.models.ARCHITECTURES; known are "
                         f"{sorted(ARCHITECTURES)}. Add a row {kind!r} there, with the fields {names}; one to "
                         "engram.parts.PARTS; and the architecture to the tests' toy models")
    return ARCHITECTURES[kind]


def _there(model, path: str):
    """The module at `path`, or None where the model has None there."""
    parent, _, name = path.rpartition(".")
    return getattr(model.get_submodule(parent), name)
