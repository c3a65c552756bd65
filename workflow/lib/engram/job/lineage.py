"""Where an artifact comes from: one record per artifact, sealed with its digest. Never imports torch.

The record of `folder/name` is `folder/.lineage/name.json`; it travels with the folder. What it says of code is made by
engram.job.code_digest.
"""

import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "matplotlib",
    "nltk",
    "numpy",
    "pandas",
    "pyarrow",
    "safetensors",
    "scikit-learn",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
)


def sha256(path: Path | str) -> str:
    """Hash of a file's bytes, 64 hexadecimal digits. OSError if it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def packages() -> dict[str, str]:
    """Versions of the installed packages that can change a number or a byte; `absent` for one that is not there."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


def record_path(artifact: Path | str) -> Path:
    """The file that holds the lineage record of an artifact: .lineage/<its name>.json in its folder."""
    artifact = Path(artifact)
    return artifact.parent / ".lineage" / f"{artifact.name}.json"


def seal(record: dict[str, Any]) -> dict[str, Any]:
    """The record with `digest`, a hash of all its other keys, so that an edited record shows."""
    body = {key: value for key, value in record.items() if key != "digest"}
    return body | {"digest": hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()}


def unsealed(text: str) -> dict[str, Any] | None:
    """What a sealed text holds; None if it does not carry its own digest."""
    try:
        record = json.loads(text)
        return record if record == seal(record) else None
    except (ValueError, AttributeError):
        return None


def record_text(record: dict[str, Any]) -> str:
    """A lineage record as the text of its file, sealed with its digest."""
    return json.dumps(seal(record), indent=1, sort_keys=True) + "\n"
