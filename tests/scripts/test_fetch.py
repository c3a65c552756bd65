"""Stage fetch as a script: a link to a checked file, a receipt, the hashes of its records; the same bytes when it runs
again.
"""

import json
import os
import runpy

import pytest

from engram.job import io, lineage
from file_server import serve
from repository import ROOT

PROMPTS = [
    {
        "known_id": number,
        "subject": "Zoë",
        "prompt": f"Zoë {number} lives in",
        "attribute": "Rome",
        "relation_id": "P19",
    }
    for number in range(30)
]
BODY = json.dumps(PROMPTS).encode()
OUTPUTS = {
    "original": "data/original/known.json",
    "receipt": "results/fetch/known.json/receipt.json",
    "records": "results/fetch/known.json/records.parquet",
}


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """Runs the script in an empty folder with the places given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENGRAM_RUN", json.dumps({"fetch": {"attempts": 2, "timeout": 2, "pause": 0}}))
    for name in ("ENGRAM_DATA_DIR", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    main = runpy.run_path(str(ROOT / "workflow/scripts/fetch.py"))["main"]

    def run(*places, **about):
        block = {"schema": "prompts", "licence": "none", "records": 30, "places": list(places)} | about
        section = {"mirrors": [], "counts": {}, "files": {"known.json": block}}
        paths = [word for name, path in OUTPUTS.items() for word in (f"--{name}", path)]
        main([*paths, "--name", "known.json", "--config", json.dumps({"fetch": section})])

    return run


def test_a_file_and_its_records(fetch, tmp_path):
    with serve(BODY) as origin:
        fetch(origin.address)
        paths = [tmp_path / path for path in OUTPUTS.values()]
        assert paths[0].is_symlink() and not os.path.isabs(os.readlink(paths[0])) and paths[0].read_bytes() == BODY
        assert io.read_json(paths[1]) == {
            "name": "known.json",
            "place": origin.address,
            "records": 30,
            "bytes": len(BODY),
            "sha256": lineage.sha256(paths[0]),
        }
        assert io.read_table(paths[2])["id"].tolist() == [str(number) for number in range(30)]
        before = [path.read_bytes() for path in paths]
        for path in paths:
            path.unlink()  # as Snakemake does before a job
        fetch(origin.address)
        assert [path.read_bytes() for path in paths] == before and len(origin.asked) == 1
    record = io.read_json(lineage.record_path(paths[0]))
    assert (
        record["sha256"] == lineage.sha256(paths[0])
        and record["params"]["fetch"]["files"]["known.json"]["records"] == 30
    )


def test_the_folder_of_an_offline_cluster(fetch, tmp_path, monkeypatch):
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster/known.json").write_bytes(BODY)
    monkeypatch.setenv("ENGRAM_DATA_DIR", str(tmp_path / "cluster"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fetch("https://origin.invalid/known.json")
    assert (tmp_path / OUTPUTS["original"]).resolve() == (tmp_path / "cluster/known.json").resolve()
    assert io.read_json(tmp_path / OUTPUTS["receipt"])["place"] == "local folder"
    (tmp_path / "cluster/known.json").unlink()
    with pytest.raises(SystemExit, match=r"known.json: no place has it(.|\n)*not asked: HF_HUB_OFFLINE is 1"):
        fetch("https://origin.invalid/known.json")


def test_nothing_is_written_when_no_place_has_it(fetch, tmp_path):
    with serve(BODY, [404]) as origin, pytest.raises(SystemExit, match="404"):
        fetch(origin.address)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() or path.is_symlink()]
