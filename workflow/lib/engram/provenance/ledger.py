"""Reading the ledger (see engram.job.ledger_entry): the entry of an artifact, what is wrong with it, and
`ledger.jsonl`, which git keeps.

A line of `ledger.jsonl` is one job: commit, dirty, started, seconds, machine, `records` (artifact -> start of the
digest of its lineage record) and `digest`, a hash of the rest.
"""

import csv
import json
from pathlib import Path

from engram.job import ledger_entry, lineage


class Ledger:
    """The entries of the jobs at `root`, of `ledger.jsonl` and of the logs here. `edited`: the places (lines, files)
    that do not carry their own digest, of entries read so far.
    """

    def __init__(self, root: Path | str):
        self.root, self.edited = Path(root), list[str]()
        file = self.root / ledger_entry.FILE
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        self.rows = [
            row
            for number, line in enumerate(lines, 1)
            if (row := self._sealed(line, f"{ledger_entry.FILE}, line {number}"))
        ]
        self._kept = {
            path: _without(row, "records", "digest") | {"record": name}
            for row in self.rows
            for path, name in row["records"].items()
        }
        self._local: dict[str, dict | None] = {}

    def of(self, path: Path, record: dict) -> dict | None:
        """The entry of the job that wrote this record: commit, dirty, started, seconds, machine; None if none is kept
        here.
        """
        return next((entry for entry in self._entries(path) if entry["record"] == ledger_entry.name_of(record)), None)

    def problem(self, path: Path, record: dict) -> str | None:
        """What the ledger says against the record of an artifact: there are entries, and none is of this record; None
        if nothing.
        """
        entries = self._entries(path)
        if entries and self.of(path, record) is None:
            return f"the ledger has record {entries[0]['record']}, here is {ledger_entry.name_of(record)}"
        return None

    def _entries(self, path: Path) -> list[dict]:
        key = path.as_posix()
        if key not in self._local:
            file = self.root / ledger_entry.LOGS / "ledger" / f"{key}.json"
            row = (
                self._sealed(file.read_text(encoding="utf-8"), file.relative_to(self.root)) if file.is_file() else None
            )
            self._local[key] = row and _without(row, "digest") | {"seconds": seconds(self.root, path)}
        return [entry for entry in (self._local[key], self._kept.get(key)) if entry]

    def _sealed(self, text: str, place: Path | str) -> dict | None:
        values = lineage.unsealed(text)
        if values is None:
            self.edited.append(str(place))
        return values

    def gather(self, records: dict[Path, dict], models: list[str]) -> bool:
        """Write `ledger.jsonl` for the artifacts of the active `models`: lines that still hold stay, every other job of
        which an entry is here gets one; lines of other models stay. Whether the file changed. ValueError if an entry
        was edited.
        """
        jobs: dict[str, dict] = {}
        for path, record in records.items():
            kept = self._kept.get(path.as_posix())
            entry = kept if kept and kept["record"] == ledger_entry.name_of(record) else self.of(path, record)
            if entry:
                line = _without(entry, "record")
                job = jobs.setdefault(
                    json.dumps([line, record["stage"], record["keys"]], sort_keys=True), line | {"records": {}}
                )
                job["records"][path.as_posix()] = entry["record"]
        if self.edited:
            raise ValueError(
                f"{', '.join(self.edited)}: edited, does not carry its own digest; "
                f"`git checkout {ledger_entry.FILE}` or delete it"
            )
        others = [
            row
            for row in self.rows
            if not any(model in Path(path).parts for path in row["records"] for model in models)
            and not {Path(path) for path in row["records"]} & set(records)
        ]
        rows = sorted(
            [*jobs.values(), *(_without(row, "digest") for row in others)], key=lambda row: min(row["records"])
        )
        text = "".join(json.dumps(lineage.seal(row), sort_keys=True) + "\n" for row in rows)
        file = self.root / ledger_entry.FILE
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            return False
        from engram.job import io  # imports pandas, slow for a command that only reads

        io.write(file, text.encode())
        return True


def _without(row: dict, *keys: str) -> dict:
    return {key: value for key, value in row.items() if key not in keys}


def seconds(root: Path | str, path: Path) -> float | None:
    """How long the job of an artifact took, from its benchmark; None if that is not here."""
    file = benchmark(root, path)
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines(), delimiter="\t")) if file else []
    return float(rows[-1]["s"]) if rows else None


def benchmark(root: Path | str, path: Path) -> Path | None:
    """The benchmark of the job that made an artifact: `logs/<stage>/…`, named as the artifact or as a folder above
    it.
    """
    place = Path(*path.parts[2 if path.parts[0] == "results" else 1 :]).with_suffix("")
    folder = Path(root) / ledger_entry.LOGS / stage_of(path)
    files = (folder / f"{name}.tsv" for name in (place, *place.parents[:-1]))
    return next((file for file in files if file.is_file()), None)


def stage_of(path: Path) -> str:
    """The stage word of an artifact, by its path in the repository: the folder below results/, or what is kept beside
    it.
    """
    return {"data": "dataset", "figures": "paper"}.get(path.parts[0]) or path.parts[1]
