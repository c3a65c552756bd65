"""What a model is, whatever its source: trained here, a folder, the hub, a GGUF file.

Stage `checkpoint` writes it down as a manifest: files with size and hash, the commit of the hub, a hash over the
tensors as they are loaded. Every stage of the model is given the manifest, and `verify` holds the files to it, so that
weights that were exchanged are noticed and nothing made from others is used. How files become a model:
engram.model.loading.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engram.job import io, lineage, schemas
from engram.settings import checkpoint_files

INDEX = "model.safetensors.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")  # of one file, of several
CARD = "README.md"


class Source(NamedTuple):
    """Where a checkpoint comes from: `trained`, `folder`, `hub` or `gguf`; its name; of the hub, the commit."""

    kind: str
    name: str
    commit: str | None = None


def source_of(block: dict[str, Any]) -> Source:
    """The source that a block of `models` names. For the hub this asks for the commit of the revision, unless that is
    one: of the hub, or without a network of its cache on this machine. OSError with what would be right if none has it.
    """
    if "gguf" in block:
        return Source("gguf", Path(block["gguf"]).name)
    if "hub" not in block:
        return Source("trained", block["name"])
    if Path(block["hub"]).is_dir():
        return Source("folder", block["hub"])
    return Source("hub", block["hub"], _commit(block["hub"], block["revision"]))


def _commit(repository: str, revision: str) -> str:
    """The commit of a revision of a repository of the hub."""
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(repository, revision=revision, allow_patterns=["config.json"]))
    return folder.name


def folder_of(block: dict[str, Any], weights: Path | None, manifest: dict[str, Any]) -> Path:
    """The folder that a model is loaded from: that of its `weights`, if a stage made them; else where it lies.

    OSError if the commit of the manifest is neither on this machine nor can be had from the hub.
    """
    return weights.parent if weights else folder_at(Source(manifest["kind"], block["hub"], manifest["commit"]))


def folder_at(source: Source, pickled: bool = False) -> Path:
    """The folder of a published checkpoint, which is brought from the hub where it is not here: safetensors, and only
    where it is to be converted (`pickled`) PyTorch's own format.
    """
    if source.kind == "folder":
        return Path(source.name)
    from huggingface_hub import snapshot_download

    wanted = [*checkpoint_files.READ, CARD, *(checkpoint_files.PICKLED if pickled else ())]
    return Path(snapshot_download(source.name, revision=source.commit, allow_patterns=wanted))


def files_of(name: str, folder: Path) -> list[Path]:
    """The files in `folder` that the model `name` is loaded from. ValueError if they are no whole checkpoint."""
    files = sorted({path for pattern in checkpoint_files.READ for path in folder.glob(pattern) if path.is_file()})
    found = {path.name for path in files}
    if "config.json" not in found:
        raise ValueError(f"model {name}: {folder} has no config.json; right is a folder as save_pretrained writes it")
    if INDEX in found:
        shards = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        if lost := sorted(shards - found):
            raise ValueError(
                f"model {name}: {folder / INDEX} names files that are not there: {', '.join(lost)}; right is every "
                "shard of the checkpoint beside its index"
            )
        return [path for path in files if path.suffix != ".safetensors" or path.name in shards]
    if "model.safetensors" not in found:
        pickled = next((file for file in PICKLED if (folder / file).exists()), None)
        raise ValueError(
            f"model {name}: {folder} has {pickled or 'no weights'} and no model.safetensors; "
            + (f"right is `convert: true` in models.{name}: it is then read once, as data, and written as safetensors"
               if pickled else "right is a folder as save_pretrained writes it")
        )  # fmt: skip
    return [path for path in files if path.suffix != ".safetensors" or path.name == "model.safetensors"]


def licence_of(folder: Path) -> str | None:
    """The licence that the model card in `folder` names in its head; None if there is no card or it names none."""
    card = folder / CARD
    head = card.read_text(encoding="utf-8").split("---") if card.exists() else []
    found = re.search(r"^license: *(\S+)", head[1], re.MULTILINE) if len(head) > 2 else None
    return found[1] if found else None


def manifest(
    name: str,
    source: Source,
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    quantisation: str | None = None,
    licence: str | None = None,
) -> dict[str, Any]:
    """What the model `name`, which was loaded from `folder`, is: the content of its manifest."""
    files = files_of(name, folder)
    return {
        "model": name,
        "kind": source.kind,
        "source": source.name,
        "commit": source.commit,
        "architecture": model.config.model_type,
        "dtype": str(model.dtype).removeprefix("torch."),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tied": bool(model.get_output_embeddings().weight is model.get_input_embeddings().weight),
        "weights": weights_hash(model),
        "tokenizer": tokenizer_hash(tokenizer),
        "quantisation": quantisation,
        "licence": licence,
        "files": {path.name: lineage.sha256(path) for path in files},
        "bytes": {path.name: path.stat().st_size for path in files},
    }


def read(path: Path) -> dict[str, Any]:
    """The manifest in the file `path`."""
    return io.read_json(path, schemas.MANIFEST)


def verify(manifest: dict[str, Any], folder: Path, hashes: Mapping[Path, str] = MappingProxyType({})) -> None:
    """ValueError unless the files of a checkpoint are those of its manifest, byte for byte.

    `hashes`: those that are known already, by path.
    """
    for name, digest in manifest["files"].items():
        path = folder / name
        there = path.exists()
        if (
            not there
            or path.stat().st_size != manifest["bytes"][name]
            or (hashes.get(path) or lineage.sha256(path)) != digest
        ):
            raise ValueError(
                f"model {manifest['model']}: {path} {'has other bytes than' if there else 'is not there, but in'} its "
                "manifest of stage checkpoint. If the change is meant, run again, which makes the manifest, and all "
                "that follows from it, anew; else bring the file back"
            )


def weights_hash(model: PreTrainedModel) -> str:
    """Hash (64 hexadecimal digits) over all tensors of a model as it is in memory: names, types, shapes and bytes.

    What is tied is one tensor, under its first name.
    """
    total = hashlib.sha256()
    for name, tensor in sorted(model.named_parameters()):
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash (16 hexadecimal digits) of all that decides which tokens a text becomes."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content.update(truncation=None, padding=None)  # the state of the last call
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
