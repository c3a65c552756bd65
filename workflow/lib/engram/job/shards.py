"""Resuming a long job at its last finished shard, with the same bytes as if it had never stopped.

    with shards.store(job) as store:                          # deleted when the block ends well: all outputs are written
        for values in shards.parts(store, slices, compute):   # independent parts: compute(slice) -> {file name: value}
            ...
        job.write("effects", ...)

or, for a running sum, whose state after shard i is all that is needed:

    done, state = store.latest()                              # (0, None) at the start
    for i in range(done, count):
        ...
        store.save(i, {"sums.safetensors": (tensors, metadata)}, alone=True)

The shards of a job lie in `.resume/<its first output>/<key>/`, as `NNNN.<file name>` (formats of engram.job.io) and one
`NNNN.json` with their hashes, written last: a shard without it, or with other bytes, was never finished. The key is a
hash of all that the outputs depend on (params, inputs, code, wildcards, packages, device): shards of another run never
match.
"""

import hashlib
import json
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engram.job import io, lineage

ROOT = Path(".resume")
_READERS = {".parquet": io.read_table, ".safetensors": io.read_tensors, ".json": io.read_json}


@dataclass(frozen=True)
class Store:
    """Finished shards of one run in `folder`; with None nothing is kept (a library call without a job)."""

    folder: Path | None = None

    def save(self, index: int, values: dict, alone: bool = False) -> None:
        """Keep shard `index`: {file name: value}. `alone`: the earlier shards are not needed any more (a running
        sum).
        """
        if self.folder is None:
            return
        hashes = {}
        for name, value in values.items():
            path = self._path(index, name)
            io.write(path, value)
            hashes[name] = lineage.sha256(path)
        io.write(self._path(index, "json"), hashes)
        for old in self._indices() if alone else []:
            if old < index:
                self._drop(old)

    def has(self, index: int) -> bool:
        """Whether shard `index` was finished."""
        return self.folder is not None and self._path(index, "json").exists()

    def load(self, index: int) -> dict | None:
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

    def latest(self) -> tuple[int, dict | None]:
        """How many shards a running sum has behind it, and the values of the last of them."""
        for index in sorted(self._indices(), reverse=True):
            values = self.load(index)
            if values is not None:
                return index + 1, values
        return 0, None

    def agreed(self, name: str, value):
        """`value` at the first call of a run, and the same in every resumed run: for what was measured, not given."""
        if self.folder is None:
            return value
        path = self.folder / f"{name}.json"
        if not path.exists():
            io.write(path, value)
        return io.read_json(path)

    def _indices(self) -> list[int]:
        names = self.folder.glob("[0-9][0-9][0-9][0-9].json") if self.folder else ()
        return sorted(int(path.stem) for path in names)

    def _path(self, index: int, name: str) -> Path:
        return self.folder / f"{index:04d}.{name}"

    def _drop(self, index: int) -> None:
        self._path(index, "json").unlink(missing_ok=True)  # first: without it the shard is not finished
        for path in self.folder.glob(f"{index:04d}.*"):
            path.unlink()


@contextmanager
def store(job, root: Path = ROOT):
    """The Store of `job` (an arguments.Job whose inputs are complete). Left in place if the block fails, else
    removed.
    """
    first = next(iter(vars(job.outputs).values())).absolute()
    here = Path.cwd()
    place = root / (first.relative_to(here) if first.is_relative_to(here) else Path(*first.parts[1:]))
    yield Store(place / key(job))
    shutil.rmtree(place, ignore_errors=True)
    for parent in place.parents:  # folders that nothing else needs
        if parent == root.parent or not parent.is_dir() or any(parent.iterdir()):
            break
        parent.rmdir()


def key(job) -> str:
    """Hash of all that the outputs of `job` depend on."""
    return hashlib.sha256(json.dumps(job.origin(), sort_keys=True).encode()).hexdigest()[:16]


def split(items: list, count: int) -> list[list]:
    """`items` in at most `count` consecutive parts of nearly equal size, none empty. ValueError for a count below 1."""
    if count < 1:
        raise ValueError(f"the number of shards is {count}, but must be positive")
    count = min(count, len(items))
    return [items[len(items) * i // count : len(items) * (i + 1) // count] for i in range(count)]


def parts(store: Store, slices: list, compute):
    """For each slice the values {file name: value} that `compute(slice)` makes, from the store where it has them.

    What is computed is read back from the store, so that a run that stopped and one that did not see the same.
    """
    for index, part in enumerate(slices):
        values = store.load(index)
        if values is None:
            values = compute(part)
            store.save(index, values)
            values = store.load(index) or values
        yield values
