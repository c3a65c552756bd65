"""Writing the outputs of a job: its record comes first."""

import json
import os
from pathlib import Path

from engram.job import lineage
from written_files import FRAME, artifact


def test_the_record_is_there_before_the_artifact(folder, monkeypatch):
    """A kill between the two leaves a record without a file, never a file with the record of another."""
    order, replace = [], os.replace
    monkeypatch.setattr(
        os, "replace", lambda source, target: (order.append(Path(target).name), replace(source, target))
    )
    path = artifact(folder / "results" / "table.parquet", FRAME)
    assert order == ["table.parquet.json", "table.parquet.json", "table.parquet"]  # of the ledger, of the record
    assert json.loads(lineage.record_path(path).read_text())["sha256"] == lineage.sha256(path)
