"""A crate that is not what it says, or leads outside, is not unpacked."""

import json
import shutil
import zipfile

import pytest

from engram.provenance import crate_verify
from tampered_runs import TABLE

pytestmark = pytest.mark.usefixtures("library")


def test_what_is_wrong_is_said_and_not_unpacked(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "run")
    (folder / TABLE).write_bytes(b"better numbers")
    (folder / "figures/mini/rome/extra.csv").write_bytes(b"1")
    (folder / "results/trace/mini/main/effects.parquet").unlink()
    found = crate_verify.verify(folder, tmp_path / "out")
    assert f"modified: {TABLE} is not what was exported" in found and not (tmp_path / "out").exists()
    assert "missing: results/trace/mini/main/effects.parquet" in found
    assert "unaccounted: figures/mini/rome/extra.csv is not described" in found
    described = json.loads((folder / "ro-crate-metadata.json").read_text())
    (folder / "ro-crate-metadata.json").write_text("{")
    with pytest.raises(ValueError, match=r"no RO-Crate: ro-crate-metadata.json cannot be read"):
        crate_verify.verify(folder)
    described["@graph"].append({"@id": "../outside.txt", "@type": "File"})
    (folder / "ro-crate-metadata.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match="leads outside"):
        crate_verify.verify(folder)


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/tmp/outside.txt", "a/../../outside.txt", "C:/outside.txt", "a\\..\\b"]
)
def test_a_zip_that_leads_outside(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("ro-crate-metadata.json", '{"@graph": []}')
        archive.writestr(name, "gone")
    with pytest.raises(ValueError, match="leads outside"):
        crate_verify.verify(tmp_path / "bad.zip", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"bad.zip"}
