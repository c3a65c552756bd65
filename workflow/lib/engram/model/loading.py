"""A language model that one can reach into, `LM`, and how it is loaded from a folder or from the hub.

How an architecture names its modules: engram.model.architectures; what is inside a block: engram.model.block_parts.
Spread over several GPUs: engram.model.placement. In another dtype for tracing: engram.model.precision.
Shapes: B rows, T tokens, d = width of the residual stream, D = width of the keys (input of the MLP's last projection),
h = width that the head reads, V = vocabulary.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from engram.job.arguments import Job
from engram.model import checkpoints, opt, placement, tokens
from engram.model.architectures import Architecture, architecture_of

logging.disable_progress_bar()

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
CLASSES = {"opt": opt.OPTForCausalLM}  # loaded in place of transformers' own class


@dataclass(frozen=True)
class LM:
    """A causal language model in eval mode, without gradients, with its tokenizer and its names of modules."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    arch: Architecture

    @property
    def layers(self) -> int:
        """The number of blocks."""
        return self.model.config.num_hidden_layers

    @property
    def width(self) -> int:
        """The width d of the residual stream."""
        return self.model.config.hidden_size

    @property
    def embed_width(self) -> int:
        """The width of the token embeddings: d, except in an OPT that projects them."""
        return self.module("embed").get_parameter("weight").shape[1]

    @property
    def device(self) -> torch.device:
        """The device of the first weight, where states live (engram.model.placement)."""
        return next(self.model.parameters()).device

    def hidden(self, ids: Tensor, **kwargs: Any) -> Tensor:
        """Hidden states [B, T, h] of token ids [B, T] as the head reads them, after the final norm; no cache is kept.

        `kwargs` go to the model's own forward.
        """
        return self.model.base_model(input_ids=ids, use_cache=False, **kwargs).last_hidden_state

    def final(self, x: Tensor) -> Tensor:
        """What the head reads [.., h] of the last block's output x [.., d]: normed, and projected where h is not d."""
        for path in filter(None, (self.arch.norm, self.arch.project)):
            parent, _, name = path.rpartition(".")
            module = getattr(self.model.get_submodule(parent), name)  # None where this model has no such module
            x = x if module is None else module(x)
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [.., V] of states [.., h] that `hidden` or `final` returned, capped where the model caps them."""
        logits = self.module("head")(hidden)
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def module(self, part: str, layer: int | None = None) -> torch.nn.Module:
        """The module of `part` (a field of Architecture, such as "mlp") in `layer`."""
        return self.model.get_submodule(getattr(self.arch, part).format(layer))

    def value_weight(self, layer: int) -> Tensor:
        """W [d, D] of the MLP's last projection in `layer`, however it is stored; writing to it edits the model."""
        weight = self.module("value", layer).get_parameter("weight")
        return weight.T if self.arch.conv1d else weight

    def key_width(self, layer: int) -> int:
        """The width D of the keys in `layer`."""
        return self.value_weight(layer).shape[1]


def open_lm(job: Job, device: str | torch.device) -> LM:
    """The model that a stage works on, whose files must be those of the manifest that it was given.

    Its inputs are `manifest` (of stage `checkpoint`) and `weights`, which is None for a published model that is read
    where it lies. ValueError names the file that has changed since.
    """
    block = job.config["model"]
    manifest = checkpoints.read(job.inputs.manifest)
    folder = checkpoints.folder_of(block, job.inputs.weights, manifest)
    checkpoints.verify(manifest, folder, {Path(row["path"]): row["sha256"] for row in job.hashed_inputs()})
    dtype, devices = DTYPES[block.get("dtype", "float32")], block.get("devices", "one")
    return load(block["name"], folder, device, dtype=dtype, devices=devices)


def load(
    name: str,
    source: str | Path,
    device: str | torch.device = "cpu",
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    devices: str = "one",
) -> LM:
    """The model `name`, loaded from a folder written by save_pretrained or from the hub at a pinned revision.

    Safetensors only, no remote code. `devices`: "one" puts the model on `device`, "auto" spreads it over all GPUs
    (engram.model.placement). Of a model of texts and pictures, the part for texts. ValueError for an architecture
    without a row in ARCHITECTURES or for quantised weights, before weights are read; for tensors that are missing,
    that no part of the model takes, or of another shape, each with its name; for a tokenizer that cannot be used.
    """
    origin: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    config = AutoConfig.from_pretrained(source, **origin)
    text_config = config.get_text_config()
    arch = architecture_of(name, text_config.model_type)
    refuse_quantised(name, config)
    spread = placement.spread_options(name, device) if devices == "auto" else {}
    tokenizer = tokens.usable(name, AutoTokenizer.from_pretrained(source, use_fast=True, **origin))
    loader: Any = CLASSES.get(text_config.model_type, AutoModelForCausalLM)
    with quiet():
        model, loaded = loader.from_pretrained(
            source,
            dtype=dtype,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # refused below, with every name
            output_loading_info=True,
            **origin,
            **spread,
        )
    refuse_loose(name, arch, loaded)
    if text_config is not config:
        model = _text_part(model, text_config)
    tokens.check_vocabulary(name, tokenizer, model.get_input_embeddings().weight.shape[0])
    return wrap(name, placement.join_states(model) if spread else model.to(device), tokenizer)


@contextmanager
def quiet() -> Iterator[None]:
    """During the block, transformers prints no report of what it loads: the errors say it."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def refuse_quantised(name: str, config: PreTrainedConfig) -> None:
    """ValueError if the configuration of the model `name` says that its weights are quantised."""
    if getattr(config, "quantization_config", None):
        raise ValueError(
            f"model {name}: its weights are quantised ({config.quantization_config.get('quant_method', 'unnamed')}), "
            "and a quantised weight cannot be edited; right is the checkpoint that it was made from, or a GGUF file, "
            "which is dequantised (`gguf` in models)"
        )


def refuse_loose(name: str, arch: Architecture, loaded: dict[str, Any]) -> None:
    """ValueError unless the tensors of a checkpoint were those of the model `name`, all of them and no others.

    `loaded`: what transformers' `output_loading_info` says. Leftovers of the architecture are passed over.
    """
    unread = sorted(key for key in loaded["unexpected_keys"] if not re.search(arch.leftovers, key))
    shapes = [f"{key} {list(there)} for {list(here)}" for key, there, here in sorted(loaded["mismatched_keys"])]
    for what, names in (
        ("lacks tensors, which would be random", sorted(loaded["missing_keys"])),
        ("has tensors that no part of the model takes", unread),
        ("has tensors of another shape", shapes),
    ):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise ValueError(
                f"model {name}: the checkpoint {what}: {', '.join(names[:5])}{more}; right is a whole checkpoint of "
                "the architecture that its config.json names"
            )


def _text_part(model: PreTrainedModel, config: Any) -> PreTrainedModel:
    """The causal language model in one that takes pictures as well."""
    with torch.device("meta"):
        text = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    setattr(text, text.base_model_prefix, model.get_decoder())
    text.set_output_embeddings(model.get_output_embeddings())
    return text


def wrap(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> LM:
    """The LM of a model in memory, which is put into eval mode and asks for no gradients.

    ValueError for an architecture without a row in ARCHITECTURES, or of another class than `load` makes.
    """
    kind = model.config.model_type
    arch = architecture_of(name, kind)
    if not isinstance(model, CLASSES.get(kind, torch.nn.Module)):
        raise ValueError(
            f"model {name}: a {type(model).__module__}.{type(model).__name__}; right is the one in "
            "engram.model.loading.CLASSES, which `load` takes"
        )
    return LM(name, model.eval().requires_grad_(False), tokenizer, arch)
