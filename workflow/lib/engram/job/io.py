"""Files: one writer and one reader per format, the same bytes for the same content, never half-written."""

import contextlib
import errno
import json
import os
import re
from pathlib import Path

import pandas as pd


def write(path: Path, value, ready=None) -> None:
    """Write `value` in the format that the suffix of `path` names, through a temporary file and one rename.

    .parquet, .csv: DataFrame; .json: anything json holds; .safetensors: dict of tensors, or (dict, metadata dict); .md:
    str; .pdf, .png: matplotlib figure; any suffix: bytes. The bytes are on the disk before the name is: neither a kill
    nor a power failure leaves a part of a file under it. `ready` is called with the temporary file once it is whole.
    OSError, with `path`, if that is not possible; what was there stays then.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(temporary, value, path.suffix)
        _settle(temporary)
        if ready:
            ready(temporary)
        os.replace(temporary, path)
        _settle(path.parent)
    except Exception as error:
        named = getattr(error, "filename", None)
        if (number := _number(error)) is None or (named and Path(named) not in (temporary, *path.parents)):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # what prevented the writing may prevent this, too
            temporary.unlink(missing_ok=True)


def _settle(path: Path) -> None:
    """Wait until the disk has what was written to a file, or which files are in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _number(error: Exception) -> int | None:
    """The system's number of an error that writing met; libraries that have a type of their own say it in the text."""
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    said = re.search(r"\bcode: (\d+)", str(error)) if type(error).__name__ == "SafetensorError" else None
    return int(said[1]) if said else None


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
    """A parquet table as a DataFrame; list columns come back as Python lists. ValueError if the file is none, or
    damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a whole parquet table: {_first_line(error)}") from error
    frame = table.to_pandas()
    for field in table.schema:
        if str(field.type).startswith("list"):
            frame[field.name] = [list(value) for value in frame[field.name]]
    return frame


def read_json(path):
    """What a json file holds. ValueError if it is none, or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a whole json file: {_first_line(error)}") from error


def read_tensors(path) -> tuple[dict, dict]:
    """The tensors of a .safetensors file and the metadata that `write` put beside them. ValueError if it is none, or
    damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("engram", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, metadata
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: not a whole safetensors file: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
