"""Which files of this machine a checkpoint is made of, where it lies in a folder or is a GGUF file. No torch."""

from pathlib import Path

FETCHED = "data/original"  # the folder of stage `fetch`
READ = (  # what is loaded from a folder; other files of it are no part of the model
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
PICKLED = ("pytorch_model*.bin", "pytorch_model.bin.index.json")  # PyTorch's own format, which is only converted


def of(block: dict) -> list[str]:
    """The files of the checkpoint that a block of `models` names, in the order of their names; none for the hub, or for
    a model that is trained here.
    """
    if "gguf" in block:
        return [block["gguf"]]
    folder = Path(block.get("hub", ""))
    if "hub" not in block or not folder.is_dir():
        return []
    patterns = (*READ, *(PICKLED if block.get("convert") else ()))
    return sorted({str(path) for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


def state(block: dict) -> list[str]:
    """Name, size and time of change of each of those files that is there; not of one that stage `fetch` brings, whose
    record says what it is.
    """
    own = (path for path in map(Path, of(block)) if path.parent.as_posix() != FETCHED)
    found = ((path, path.stat()) for path in own if path.exists())
    return [f"{path.name} {about.st_size} {about.st_mtime_ns}" for path, about in found]
