"""Checkpoints that are no safetensors: GGUF files, dequantised, and PyTorch's own format, read as data alone."""

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers import modeling_gguf_pytorch_utils as gguf_loading

from engram.model import checkpoints, loading, tokens
from engram.model.architectures import architecture_of


def from_gguf(
    name: str, file: Path, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str, str | None]:
    """The model `name` in a GGUF file with its weights dequantised to `dtype`, its tokenizer, how most of its matrices
    were quantised (`Q4_1`, `F16`), and the licence that the file names.

    ValueError for a file that is no GGUF, for an architecture without a row in ARCHITECTURES or one that transformers
    cannot read from GGUF, and for tensors that are missing, or that no part of the model takes, each with its name.
    """
    names, quantisation, licence = _about(file)
    try:
        config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    except ValueError as error:
        raise ValueError(f"model {name}: {file} cannot be read: {error}") from error
    arch = architecture_of(name, config.model_type)
    tokenizer = tokens.usable(name, AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name))
    loader: Any = AutoModelForCausalLM
    with loading.quiet():
        whole, loaded = loader.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, output_loading_info=True
        )
    loaded["unexpected_keys"] = {*loaded["unexpected_keys"], *_not_taken(names, whole)}
    loading.refuse_loose(name, arch, loaded)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)  # `whole` says that it is quantised; this does not
    model.load_state_dict(whole.state_dict())
    model.tie_weights()
    model.generation_config = whole.generation_config
    return model, tokenizer, quantisation, licence


def _not_taken(names: set[str], model: PreTrainedModel) -> set[str]:
    """Those tensors of a GGUF file that transformers passes over in silence, for the model has no such parameter: a
    bias, or factors of rotary frequencies (`rope_freqs.weight`), without which it would be another model.
    """
    kind = model.config.model_type
    processor = gguf_loading.TENSOR_PROCESSORS.get(kind, gguf_loading.TensorProcessor)(config=model.config.to_dict())
    return names - set(gguf_loading.get_gguf_hf_weights_map(model, processor))


def _about(file: Path) -> tuple[set[str], str, str | None]:
    """The names of the tensors in a GGUF file, how most of its matrices are stored, and the licence it names."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
    except (ValueError, OSError, IndexError) as error:
        raise ValueError(f"{file}: not a GGUF file that can be read: {error}") from error
    sizes: Counter[str] = Counter()
    for tensor in reader.tensors:
        if len(tensor.shape) > 1:
            sizes[tensor.tensor_type.name] += int(tensor.n_elements)
    field = reader.fields.get("general.license")
    if not sizes:
        raise ValueError(f"{file}: a GGUF file without matrices; right is one that holds a whole model")
    names, licence = {tensor.name for tensor in reader.tensors}, str(field.contents()) if field else None
    return names, sizes.most_common(1)[0][0], licence


def from_pickled(name: str, folder: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model `name` in a folder with `pytorch_model.bin`, or its shards, and its tokenizer.

    Read with `weights_only`: nothing in the files is run. ValueError for files that hold more than tensors, and as
    engram.model.loading.load says.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    arch = architecture_of(name, config.model_type)
    loading.refuse_quantised(name, config)
    tokenizer = tokens.usable(name, AutoTokenizer.from_pretrained(folder, trust_remote_code=False))
    state: dict[str, torch.Tensor] = {}
    for file in pickled_files(name, folder):
        try:
            plain = zipfile.is_zipfile(file)  # older files are no archive, and cannot be mapped into memory
            state |= torch.load(file, map_location="cpu", weights_only=True, mmap=plain)
        except Exception as error:  # whatever torch says of a file that is no plain archive of tensors
            raise ValueError(
                f"model {name}: {file} is not read, for it holds more than tensors or is broken: "
                f"{str(error).splitlines()[0]}"
            ) from error
    kind: Any = loading.CLASSES.get(config.model_type) or MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    with loading.quiet():
        model, loaded = kind.from_pretrained(  # the class itself: an Auto class takes no tensors without a folder
            None, config=config, state_dict=state, dtype=dtype, ignore_mismatched_sizes=True, output_loading_info=True
        )
    loading.refuse_loose(name, arch, loaded)
    return model, tokenizer


def pickled_files(name: str, folder: Path) -> list[Path]:
    """The one file, or the shards that the index names. ValueError if they are not there."""
    single, index = (folder / file for file in checkpoints.PICKLED)
    if single.exists():
        return [single]
    if not index.exists():
        raise ValueError(f"model {name}: {folder} has no {single.name}, which is what `convert: true` reads")
    about: dict[str, Any] = json.loads(index.read_text(encoding="utf-8"))
    shards = sorted(set(about["weight_map"].values()))
    if lost := [shard for shard in shards if not (folder / shard).exists()]:
        raise ValueError(f"model {name}: {index} names files that are not there: {', '.join(lost)}")
    return [folder / shard for shard in shards]
