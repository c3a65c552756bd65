"""Do the same params and code give the same bytes? Two runs in two scratch folders, or two folders that are there,
compared file by file. Never imports torch.

The second run has other numbers of cores and of shards, on which nothing depends: all bytes of artifacts and all fields
of lineage records must agree.
"""

import filecmp
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from engram.job import lineage
from engram.provenance import audit
from engram.settings import checking, execution, params, stages

if TYPE_CHECKING:
    import pandas as pd

SCRATCH = Path(".reproducible")
CORES = {"one": 1, "two": 2}
HEADS = ("artifact", "here", "there", "what differs")


class Difference(NamedTuple):
    """What two runs have otherwise: an artifact or a field of its record, as each has it (start of the hash, value),
    and how they differ.
    """

    path: Path
    one: str
    other: str
    what: str


class Comparison(NamedTuple):
    """The outcome of comparing two runs."""

    files: int  # artifacts that both have
    records: int  # lineage records that both have
    differences: list[Difference]


def other_shards(values: dict) -> dict:
    """Params with another number of shards for every stage that has shards."""
    counts = asdict(execution.Shards(**values["run"].get("shards", {})))
    other = {stage: count // 2 + 1 if count > 2 else count + 1 for stage, count in counts.items()}
    return values | {"run": values["run"] | {"shards": other}}


def compare(one: Path | str, other: Path | str, models: Collection[str] | None = None) -> Comparison:
    """Every artifact of two folders, byte by byte, and its lineage record, field by field."""
    folders = [Path(one), Path(other)]
    paths = sorted({path for folder in folders for path in audit.artifacts(folder, models)})
    differences, files, records = list[Difference](), 0, 0
    for path in paths:
        here, there = (folder / path for folder in folders)
        if not (here.is_file() and there.is_file()):
            differences.append(Difference(path, _digest(here), _digest(there), "only in one of the two"))
            continue
        files += 1
        if not filecmp.cmp(here, there, shallow=False):
            differences.append(Difference(path, _digest(here), _digest(there), explained(here, there)))
        pair = [folder / lineage.record_path(path) for folder in folders]
        if all(file.is_file() for file in pair):
            records += 1
            differences += _records(path, pair)
        elif any(file.is_file() for file in pair):
            differences.append(
                Difference(lineage.record_path(path), _digest(pair[0]), _digest(pair[1]), "only in one of the two")
            )
    return Comparison(files, records, differences)


def _records(path: Path, pair: list[Path]) -> Iterator[Difference]:
    one, other = (json.loads(file.read_text(encoding="utf-8")) for file in pair)
    for key in sorted({*one, *other} - {"digest"}):  # which is the hash of all others
        if one.get(key) != other.get(key):
            yield Difference(lineage.record_path(path), _short(one.get(key)), _short(other.get(key)), f"field {key}")


def explained(one: Path, other: Path) -> str:
    """How two files differ: columns or tensors and by how much at most; else where the first byte does."""
    try:
        if one.suffix in (".parquet", ".csv"):
            return _tables(*(_table(path) for path in (one, other)))
        if one.suffix == ".safetensors":
            return _tensors(one, other)
    except Exception as error:  # a damaged file differs, too, and is explained by its bytes
        print(f"{one}: cannot be compared as {one.suffix}: {error}", file=sys.stderr)
    first, second = one.read_bytes(), other.read_bytes()
    at = next((i for i, (a, b) in enumerate(zip(first, second)) if a != b), min(len(first), len(second)))
    return f"{len(first):,} and {len(second):,} bytes, the first difference at byte {at:,}"


def _table(path: Path) -> "pd.DataFrame":
    import pandas as pd  # slow, and needed only where files differ

    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


def _tables(one: "pd.DataFrame", other: "pd.DataFrame") -> str:
    if list(one.columns) != list(other.columns) or len(one) != len(other):
        return f"{one.shape[0]} x {one.shape[1]} and {other.shape[0]} x {other.shape[1]}, or other columns"
    words = []
    for name in one.columns:
        pair = one[name], other[name]
        if all(column.dtype.kind in "fiu" for column in pair):
            if not pair[0].equals(pair[1]):
                words.append(f"{name}: by {(pair[0] - pair[1]).abs().max():.2g} at most")
        elif changed := int((pair[0].astype(str) != pair[1].astype(str)).sum()):
            words.append(f"{name}: {changed} rows")
    return "; ".join(words) or "the same values in other bytes"


def _tensors(one: Path, other: Path) -> str:
    from safetensors.numpy import load_file

    pair = [load_file(path) for path in (one, other)]
    if {name: value.shape for name, value in pair[0].items()} != {name: value.shape for name, value in pair[1].items()}:
        return "other tensors, or other shapes"
    far = {
        name: abs(value.astype("float64") - pair[1][name].astype("float64")).max()
        for name, value in pair[0].items()
        if value.size and (value != pair[1][name]).any()
    }
    return "; ".join(f"{name}: by {most:.2g} at most" for name, most in far.items()) or "the same values in other bytes"


def report(comparison: Comparison) -> str:
    """A table of what differs, and a line that counts."""
    rows = (
        [HEADS, *([str(row.path), row.one, row.other, row.what] for row in comparison.differences)]
        if comparison.differences
        else []
    )
    width = [max(len(row[column]) for row in rows) for column in range(3)] if rows else []
    lines = ["  ".join([*(cell.ljust(size) for cell, size in zip(row, width)), row[3]]) for row in rows]
    return "\n".join(
        [
            *lines,
            f"{comparison.files} artifacts and {comparison.records} lineage records compared, "
            f"{len(comparison.differences)} differences",
        ]
    )


def twice(root: Path, target: str, scratch: Path) -> tuple[Path, Path]:
    """Run `target` in two clones of HEAD with the params of `root`; RuntimeError if a run fails."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    values = params.load(root / "params.yaml")
    changed = _git(root, "status", "--porcelain", "--", "workflow", "Snakefile", "profiles")
    if changed:
        print(f"not in HEAD, so not in the two runs:\n{changed}", file=sys.stderr)
    for name, content in (("one", values), ("two", other_shards(values))):
        folder = scratch / name
        _git(root, "clone", "--quiet", "--shared", str(root.resolve()), str(folder.resolve()))
        shutil.rmtree(folder / "figures", ignore_errors=True)  # git keeps those of the default model
        (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        _sources(root, folder, content)
        _run(root, folder, target, CORES[name])
    return scratch / "one", scratch / "two"


def _git(root: Path, *words: str) -> str:
    run = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"git {words[0]}: {run.stderr.strip()}")
    return run.stdout.rstrip()


def _sources(root: Path, folder: Path, values: dict) -> None:
    """Make the sources' relative paths outside of the repository lead to the same files."""
    for source in values["sources"].values():
        path = Path(source.get("path", ""))
        place = Path(os.path.normpath(folder.absolute() / path))
        if path.parts[:1] == ("..",) and (root / path).exists() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to((root / path).resolve())


def _run(root: Path, folder: Path, target: str, cores: int) -> None:
    environment = os.environ | {"PYTHONPATH": str((folder / "workflow" / "lib").resolve())}
    if (root / ".downloads").is_dir():
        environment.setdefault("ENGRAM_DATA_DIR", str((root / ".downloads").resolve()))
    command = [str(Path(sys.executable).parent / "snakemake"), target, "--cores", str(cores)]
    print(f"{folder}: snakemake {target} --cores {cores}", file=sys.stderr)
    with open(folder.parent / f"{folder.name}.log", "w", encoding="utf-8") as log:
        run = subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    if run.returncode:
        raise RuntimeError(f"{folder}: snakemake ended with status {run.returncode}; see {log.name}")


def _digest(path: Path) -> str:
    return lineage.sha256(path)[:12] if path.is_file() else "-"


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 40 else text[:39] + "…"


def main(stage: str | None, against: Path | None, scratch: Path = SCRATCH) -> int:
    """Compare this folder with `against`, or two new runs of a stage (None: of everything) of the active models.

    Returns 0 if they agree, 1 if they differ, 2 if that could not be found out.
    """
    root = Path(".")
    try:
        models = params.load(root / "params.yaml")["run"]["models"]
        known = stages.STAGES
        if stage not in (None, *known):
            raise ValueError(f"no stage {stage!r}; {checking.similar(stage, known)}")
        if against is not None and not against.is_dir():
            raise RuntimeError(f"{against} is not a folder")
        pair = (root, against) if against else twice(root, f"all_{stage}" if stage else "all", scratch)
        comparison = compare(*pair, models)
    except (RuntimeError, OSError, ValueError) as error:
        print(f"engram reproducible: {error}", file=sys.stderr)
        return 2
    print(report(comparison))
    if not comparison.files:
        print("engram reproducible: no artifact is in both", file=sys.stderr)
        return 2
    return int(bool(comparison.differences))
