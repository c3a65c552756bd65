"""Resuming a long job at its last finished shard, with the same bytes as if it had never stopped.

    with resuming.store(job) as store:                        # deleted when the block ends well, with all outputs there
        for values in resuming.parts(store, items, compute):  # compute(part of items) -> {file name: value}
            ...
        job.write("effects", ...)

or, for a running sum, whose state after shard i is all that is needed:

    done, state = store.latest()                              # (0, None) at the start
    for i, part in list(enumerate(resuming.split(items, store.count)))[done:]:
        ...
        store.save(i, {"sums.safetensors": (tensors, metadata)}, keep_earlier=False)

The shards of a job lie in `.resume/<its first output>/<key>/`, as `NNNN.<file name>` (formats of engram.job.io) and one
`NNNN.json` with their hashes, written last: a shard without it, or with other bytes, was never finished. The key is a
hash of all that the outputs depend on (params, inputs, code, wildcards, packages, device) and of the number of shards,
without which the number of one says nothing: shards of another run never match.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from engram.job import io, lineage
from engram.settings import execution

if TYPE_CHECKING:
    from engram.job.arguments import Job

T = TypeVar("T")
Values = dict[str, Any]  # file name -> value, in the formats of engram.job.io
ROOT = Path(".resume")
_READERS: dict[str, Callable[[Path], Any]] = {
    ".parquet": io.read_table,
    ".safetensors": io.read_tensors,
    ".json": io.read_json,
}


@dataclass(frozen=True)
class Store:
    """Finished shards of one run in `folder`; with None nothing is kept (a library call without a job)."""

    folder: Path | None = None
    count: int = 1  # shards that the work is cut into

    def save(self, index: int, values: Values, keep_earlier: bool = True) -> None:
        """Keep shard `index`: {file name: value}. Without `keep_earlier` the shards before it are removed: a running
        sum needs only the last.
        """
        if self.folder is None:
            return
        hashes = {}
        for name, value in values.items():
            path = self._path(index, name)
            io.write(path, value)
            hashes[name] = lineage.sha256(path)
        io.write(self._path(index, "json"), hashes)
        for old in [] if keep_earlier else self._indices():
            if old < index:
                self._drop(old)

    def has(self, index: int) -> bool:
        """Whether shard `index` was finished."""
        return self.folder is not None and self._path(index, "json").exists()

    def load(self, index: int) -> Values | None:
        """The values of shard `index` as saved; None if it was not finished. A .safetensors comes as (tensors,
        metadata).

        A finished shard whose bytes have changed since is dropped, with a line on stderr.
        """
        if not self.has(index):
            return None
        hashes = io.read_json(self._path(index, "json"))
        paths = {name: self._path(index, name) for name in hashes}
        broken = [
            str(path) for name, path in paths.items() if not path.exists() or lineage.sha256(path) != hashes[name]
        ]
        if broken:
            print(f"resume: {', '.join(broken)} is not what was written; the shard is computed again", file=sys.stderr)
            self._drop(index)
            return None
        return {name: _READERS[path.suffix](path) for name, path in paths.items()}

    def latest(self) -> tuple[int, Values | None]:
        """How many shards a running sum has behind it, and the values of the last of them."""
        for index in sorted(self._indices(), reverse=True):
            values = self.load(index)
            if values is not None:
                return index + 1, values
        return 0, None

    def first_value(self, name: str, value: T) -> T:
        """The `value` of the first call for `name` in a run and in all that resume it: for what is measured, such as
        free memory, and must not change while a job goes on. A value that json holds.
        """
        if self.folder is None:
            return value
        path = self.folder / f"{name}.json"
        if not path.exists():
            io.write(path, value)
        kept: T = io.read_json(path)
        return kept

    def _indices(self) -> list[int]:
        names = self.folder.glob("[0-9][0-9][0-9][0-9].json") if self.folder else ()
        return sorted(int(path.stem) for path in names)

    def _path(self, index: int, name: str) -> Path:
        if self.folder is None:
            raise ValueError("this store keeps nothing, so no shard of it has a file")
        return self.folder / f"{index:04d}.{name}"

    def _drop(self, index: int) -> None:
        self._path(index, "json").unlink(missing_ok=True)  # first: without it the shard is not finished
        for path in self._path(index, "json").parent.glob(f"{index:04d}.*"):
            path.unlink()


@contextmanager
def store(job: "Job", root: Path = ROOT) -> Iterator[Store]:
    """The Store of `job`, whose inputs are complete, with as many shards as run.shards says of its stage. Left in place
    if the block fails, else removed.
    """
    first = next(iter(vars(job.outputs).values())).absolute()
    here = Path.cwd()
    folder = root / (first.relative_to(here) if first.is_relative_to(here) else Path(*first.parts[1:]))
    count = getattr(execution.current().shards, job.script.stem, 1)
    yield Store(folder / key(job, count), count)
    shutil.rmtree(folder, ignore_errors=True)
    for parent in folder.parents:  # folders that nothing else needs
        if parent == root.parent or not parent.is_dir() or any(parent.iterdir()):
            break
        parent.rmdir()


def key(job: "Job", count: int) -> str:
    """Hash, 16 hexadecimal digits, of all that the outputs of `job` depend on, and of the number of shards."""
    return hashlib.sha256(json.dumps(job.origin() | {"shards": count}, sort_keys=True).encode()).hexdigest()[:16]


def split(items: Sequence[T], count: int) -> list[Sequence[T]]:
    """`items` in at most `count` consecutive parts of nearly equal size, none empty. ValueError for a count below 1."""
    if count < 1:
        raise ValueError(f"the number of shards is {count}, but must be positive")
    count = min(count, len(items))
    return [items[len(items) * i // count : len(items) * (i + 1) // count] for i in range(count)]


def parts(store: Store, items: Sequence[T], compute: Callable[[Sequence[T]], Values]) -> Iterator[Values]:
    """For each shard of `items` the values {file name: value} that `compute(part)` makes, from the store where it has
    them.

    What is computed is read back from the store, so that a run that stopped and one that did not see the same.
    """
    for index, part in enumerate(split(items, store.count)):
        values = store.load(index)
        if values is None:
            values = compute(part)
            store.save(index, values)
            values = store.load(index) or values
        yield values
