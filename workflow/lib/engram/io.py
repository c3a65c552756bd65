"""Files: one writer and one reader per format, the same bytes for the same content, never half-written."""

import json
import os
from pathlib import Path

import pandas as pd


def write(path: Path, value) -> None:
    """Write `value` in the format that the suffix of `path` names, through a temporary file and one rename.

    .parquet, .csv: DataFrame; .json: anything json holds; .safetensors: dict of tensors, or (dict, metadata dict);
    .md: str; .pdf, .png: matplotlib figure; any suffix: bytes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        _write(temporary, value, path.suffix)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write(path: Path, value, suffix: str) -> None:
    if isinstance(value, bytes):
        path.write_bytes(value)
    elif suffix == ".parquet":
        _write_parquet(path, value)
    elif suffix == ".csv":
        value.to_csv(path, index=False, lineterminator="\n", float_format="%.6g")
    elif suffix == ".json":
        path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    elif suffix == ".md":
        path.write_text(value, encoding="utf-8")
    elif suffix == ".safetensors":
        _write_tensors(path, *(value if isinstance(value, tuple) else (value, {})))
    elif suffix == ".pdf":
        value.savefig(path, format="pdf", metadata={"CreationDate": None, "Producer": None, "Creator": None})
    elif suffix == ".png":
        value.savefig(path, format="png", metadata={"Software": None})
    else:
        raise ValueError(f"{path}: no writer for the suffix {suffix!r}")


def _write_parquet(path: Path, frame: pd.DataFrame) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, path, compression="zstd")


def _write_tensors(path: Path, tensors: dict, metadata: dict) -> None:
    from safetensors.torch import save_file

    # One metadata key: several come out in varying order.
    text = json.dumps(metadata, sort_keys=True)
    save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, path, {"engram": text})


def read_table(path) -> pd.DataFrame:
    """A parquet table as a DataFrame; list columns come back as Python lists."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    frame = table.to_pandas()
    for field in table.schema:
        if str(field.type).startswith("list"):
            frame[field.name] = [list(value) for value in frame[field.name]]
    return frame


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read_tensors(path) -> tuple[dict, dict]:
    """The tensors of a .safetensors file and the metadata that `write` put beside them."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = json.loads((file.metadata() or {}).get("engram", "{}"))
        return {name: file.get_tensor(name) for name in file.keys()}, metadata
