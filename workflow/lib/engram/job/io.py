"""Files: one writer and one reader per format, the same bytes for the same content, never half-written.

A schema of engram.job.schemas, where one is given, is checked before a file has its name and after it was read.
"""

import contextlib
import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from engram.job.schema_checks import DTYPES, MAKE_ANEW, TEXT, Document, Table, about

EMPTY = {"keep_default_na": False, "na_values": [""]}  # in csv only an empty cell is a missing value


def write(
    path: Path, value: Any, ready: Callable[[Path], None] | None = None, schema: Table | Document | None = None
) -> None:
    """Write `value` in the format that the suffix of `path` names, through a temporary file and one rename.

    .parquet, .csv: DataFrame; .json: anything json holds; .safetensors: dict of tensors, or (dict, metadata dict); .md:
    str; .pdf, .png: matplotlib figure; any suffix: bytes. The bytes are on the disk before the name is: neither a kill
    nor a power failure leaves a part of a file under it. `ready` is called with the temporary file once it is whole.
    ValueError if a table or document does not have its `schema`; OSError, with `path`, if writing is not possible. What
    was there stays then.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    if isinstance(schema, Document) and not isinstance(value, bytes):
        schema.check(value, str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(temporary, value, path, schema if isinstance(schema, Table) else None)
        _settle(temporary)
        if ready:
            ready(temporary)
        os.replace(temporary, path)
        _settle(path.parent)
    except Exception as error:
        named = getattr(error, "filename", None)
        if (number := _error_number(error)) is None or (named and Path(named) not in (temporary, *path.parents)):
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


def _error_number(error: Exception) -> int | None:
    """The system's number of an error of writing; libraries that have a type of their own say it in the text."""
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    code = re.search(r"\bcode: (\d+)", str(error)) if type(error).__name__ == "SafetensorError" else None
    return int(code[1]) if code else None


def _write(temporary: Path, value: Any, path: Path, schema: Table | None) -> None:
    suffix = path.suffix
    if isinstance(value, bytes):
        temporary.write_bytes(value)
    elif suffix == ".parquet":
        _write_parquet(temporary, value, path, schema)
    elif suffix == ".csv":
        if schema:
            schema.check(schema.arrow(value, str(path)), str(path), csv=True)
        value.to_csv(temporary, index=False, lineterminator="\n", float_format="%.6g")
    elif suffix == ".json":
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8")
    elif suffix == ".md":
        temporary.write_text(value, encoding="utf-8")
    elif suffix == ".safetensors":
        _write_tensors(temporary, *(value if isinstance(value, tuple) else (value, {})))
    elif suffix == ".pdf":
        value.savefig(temporary, format="pdf", metadata={"CreationDate": None, "Producer": None, "Creator": None})
    elif suffix == ".png":
        value.savefig(temporary, format="png", metadata={"Software": None})
    else:
        raise ValueError(f"{path}: no writer for the suffix {suffix!r}")


def _write_parquet(temporary: Path, frame: pd.DataFrame, path: Path, schema: Table | None) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if schema:
        table = schema.arrow(frame, str(path))
        schema.check(table, str(path))
    else:
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, temporary, compression="zstd")


def _write_tensors(path: Path, tensors: dict, metadata: dict) -> None:
    from safetensors.torch import save_file

    # One metadata key: several come out in varying order.
    text = json.dumps(metadata, sort_keys=True)
    save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, path, {"engram": text})


def read_table(path: Path | str, schema: Table | None = None) -> pd.DataFrame:
    """A parquet or csv table as a DataFrame; list columns of parquet come back as Python lists.

    ValueError, with the path, if the file is none or damaged, or does not have its `schema`: then with the column, the
    row, what was found and what would be right.
    """
    if Path(path).suffix == ".csv":
        return _read_csv(path, schema)
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a whole parquet table: {_first_line(error)}") from error
    if schema:
        schema.check(table, str(path), MAKE_ANEW)
    frame = table.to_pandas()
    for field in table.schema:
        if str(field.type).startswith("list"):
            frame[field.name] = [list(value) for value in frame[field.name]]
    return frame


def _read_csv(path: Path | str, schema: Table | None) -> pd.DataFrame:
    fields = {field.name: field for field in schema.schema} if schema else {}
    kinds = {name: DTYPES[TEXT] for name, field in fields.items() if field.type == TEXT and not about(field, "other")}
    try:
        frame = pd.read_csv(path, dtype=kinds, **EMPTY)
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path}: not a whole csv table: {_first_line(error)}") from error
    if schema:
        schema.check(schema.arrow(frame, str(path)), str(path), MAKE_ANEW, csv=True)
    return frame


def read_json(path: Path | str, schema: Document | None = None) -> Any:
    """What a json file holds. ValueError, with the path, if it is none or damaged, or does not have its `schema`."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a whole json file: {_first_line(error)}") from error
    if schema:
        schema.check(value, str(path), MAKE_ANEW)
    return value


def read_tensors(path: Path | str) -> tuple[dict, dict]:
    """The tensors of a .safetensors file and the metadata that `write` put beside them. ValueError if it is none, or
    damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get("engram", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 - no dict
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: not a whole safetensors file: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
