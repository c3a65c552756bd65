"""Artifacts of the sandbox, verdicts on them, and a forgery whose record fits."""

import json
from pathlib import Path

from engram.job import ledger_entry, lineage
from engram.provenance import audit
from sandboxes import Sandbox

EFFECTS = Path("results/trace/mini/main/effects.parquet")


PROMPTS = EFFECTS.with_name("prompts.parquet")


FIGURE = Path("figures/mini/rome/fig7_lines.png")


TABLE = Path("figures/mini/rome/table4_counterfact.csv")


def words(found: dict) -> dict[str, str]:
    return {path: verdict.word for path, verdict in found.items()}


def forge(sandbox: Sandbox, place: Path, content: bytes, everything: bool = False) -> None:
    """Other bytes with a record that fits them; with `everything`, also the ledger's entry of the job."""
    (sandbox.path / place).write_bytes(content)
    record = audit.read_record(sandbox.path, place) | {
        "sha256": lineage.sha256(sandbox.path / place),
        "bytes": len(content),
    }
    (sandbox.path / lineage.record_path(place)).write_text(lineage.record_text(record))
    if everything:
        file = sandbox.path / f"logs/ledger/{place}.json"
        began = {key: value for key, value in json.loads(file.read_text()).items() if key not in ("digest", "record")}
        file.write_bytes(ledger_entry.entry(began, record))
