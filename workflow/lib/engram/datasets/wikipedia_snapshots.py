"""Articles of a snapshot of Wikipedia in whatever form it is at hand: parquet, arrow or jsonl, one file or a folder of
them.

Rows are streamed; only the sample is held in memory. Which articles a sample holds depends on the number and the order
of the rows, so only the identical snapshot gives the identical sample.
"""

import json
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from engram.datasets.original_formats import articles

COLUMNS = ("id", "title", "text")
SUFFIXES = (".jsonl", ".parquet", ".arrow")


def files(place: Path) -> list[Path]:
    """The files of a snapshot, in the order of their names. ValueError if there is none, or several kinds of them."""
    if place.is_file():
        paths = [place]
    else:
        paths = sorted(path for path in place.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    kinds = {path.suffix for path in paths}
    if len(kinds) != 1 or not kinds <= set(SUFFIXES):
        raise ValueError(f"{place}: expected files of one kind, {', '.join(SUFFIXES)}; found {sorted(kinds) or 'none'}")
    return paths


def count(place: Path) -> int:
    """The number of articles of a snapshot."""
    return sum(_count(path) for path in files(place))


def _count(path: Path) -> int:
    if path.suffix == ".jsonl":
        with open(path, "rb") as stream:
            return sum(1 for line in stream if line.strip())
    if path.suffix == ".parquet":
        with _named(path):
            return pq.ParquetFile(path).metadata.num_rows
    return sum(batch.num_rows for batch in _arrow(path))


def rows(place: Path) -> Iterator[dict]:
    """The articles {id, title, text} of a snapshot, in its order. ValueError names the file and the row that is
    malformed.
    """
    for path in files(place):
        if path.suffix == ".jsonl":
            yield from ({key: row[key] for key in COLUMNS} for row in articles(path))
            continue
        number = 0
        for batch in _parquet(path) if path.suffix == ".parquet" else _arrow(path):
            missing = sorted({"title", "text"} - set(batch.schema.names))
            if missing:
                raise ValueError(f"{path}: no column {', '.join(missing)}; found {', '.join(batch.schema.names)}")
            for row in batch.to_pylist():
                yield article(row, number, f"{path}: row {number}")
                number += 1


def article(row: dict, number: int, place: str) -> dict:
    """One row as {id, title, text}; without an id it gets its number. ValueError if a text is missing."""
    for name in ("title", "text"):
        if not isinstance(row.get(name), str) or not row[name].strip():
            raise ValueError(
                f"{place} (id {row.get('id', '?')}): field {name!r} should be a non-empty str, found {row.get(name)!r}"
            )
    return {"id": str(row.get("id", number)), "title": row["title"], "text": row["text"]}


def _parquet(path: Path) -> Iterator[pa.RecordBatch]:
    with _named(path), pq.ParquetFile(path) as file:
        yield from file.iter_batches(1000, columns=[name for name in COLUMNS if name in file.schema_arrow.names])


def _arrow(path: Path) -> Iterator[pa.RecordBatch]:
    with _named(path), pa.memory_map(str(path)) as source:
        try:
            reader = pa.ipc.open_stream(source)
        except pa.ArrowInvalid:
            source.seek(0)
            reader = pa.ipc.open_file(source)
            yield from (reader.get_batch(index) for index in range(reader.num_record_batches))
            return
        yield from reader


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """An error of arrow becomes a ValueError that names the file."""
    try:
        yield
    except pa.ArrowException as error:
        raise ValueError(f"{path}: not a {path.suffix} file that can be read, or truncated: {error}") from error


def sample(stream: Iterable[dict], total: int, size: int) -> list[dict]:
    """`size` of `total` articles, in the order of the draw. ValueError if there are fewer, or not `total`.

    PAPER: as ROME's code draws them: all rows shuffled by random.Random(1), the first so many.
    """
    if size > total:
        raise ValueError(f"the snapshot holds {total:,} articles, the sample {size:,}")
    order = list(range(total))
    random.Random(1).shuffle(order)
    place = {row: at for at, row in enumerate(order[:size])}
    drawn: list = [None] * size
    number = -1
    for number, row in enumerate(stream):
        if number in place:
            drawn[place[number]] = row
    if number + 1 != total:
        raise ValueError(f"the snapshot gave {number + 1:,} articles of {total:,}")
    return drawn


def write(articles: list[dict], target: Path) -> None:
    """Articles as a file of one json object a line."""
    with open(target, "w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in articles)


def hub(repository: str, revision: str = "main") -> tuple[Iterator[dict], int]:
    """The articles of a data set of the hub, streamed, and their number."""
    from datasets import load_dataset, load_dataset_builder

    split = (load_dataset_builder(repository, revision=revision).info.splits or {}).get("train")
    stream = load_dataset(repository, revision=revision, split="train", streaming=True)
    total = split.num_examples if split else None
    if not total:
        total = sum(1 for _ in load_dataset(repository, revision=revision, split="train", streaming=True))
    return (article(row, number, f"{repository}: row {number}") for number, row in enumerate(stream)), total
