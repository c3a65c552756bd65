"""The run as a research object and back; artifacts in an S3-compatible store on this machine and back."""

import json
import shutil

import pytest

from engram.provenance import crate, crate_verify
from sandboxes import Sandbox, restore

SECRET = "not-a-real-secret-0123456789"
FIGURE = "figures/mini/rome/table4_counterfact.csv"

pytestmark = pytest.mark.usefixtures("library")


def entities(folder) -> dict[str, dict]:
    return {entity["@id"]: entity for entity in json.loads((folder / "ro-crate-metadata.json").read_text())["@graph"]}


def test_every_job_is_an_action(built, exported):
    found = entities(exported)
    root = found["./"]
    assert {one["@id"].split("/")[-2] for one in root["conformsTo"]} >= {"process", "workflow", "provenance"}
    assert found[root["mainEntity"]["@id"]]["@type"] == ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]
    actions = [entity for entity in found.values() if entity["@type"] == "CreateAction" and entity["@id"] != "#run"]
    results = [one["@id"] for action in actions for one in action["result"]]
    assert len(results) == len(set(results)) and FIGURE in results
    table = next(action for action in actions if FIGURE in [one["@id"] for one in action["result"]])
    assert found[table["instrument"]["@id"]]["name"] == "workflow/figures/rome/table4_counterfact.py"
    assert "results/evaluate/mini/counterfact/rome/n1/summary.csv" in [one["@id"] for one in table["object"]]
    assert table["startTime"] <= table["endTime"]
    trace = next(action for action in actions if action["name"] == "trace: model=mini variant=main")
    values = {
        found[one["@id"]]["name"]: found[one["@id"]]["value"] for one in trace["object"] if "value" in found[one["@id"]]
    }
    assert values["trace.samples"] == 10 and values["seed"] == 0
    steps = [entity for entity in found.values() if entity["@type"] == "HowToStep"]
    controls = [entity for entity in found.values() if entity["@type"] == "ControlAction"]
    assert len(steps) == len(controls) and {step["name"] for step in steps} >= {"trace", "edit", "paper"}
    assert all({"sha256", "contentSize"} <= set(entity) for entity in found.values() if "File" in entity["@type"])
    controlled = [
        one["@id"]
        for control in controls
        for one in (control["object"] if isinstance(control["object"], list) else [control["object"]])
    ]
    assert sorted(controlled) == sorted(action["@id"] for action in actions)


def test_in_and_out(exported, tmp_path):
    assert crate_verify.verify(exported) == []
    shutil.make_archive(str(tmp_path / "run"), "zip", exported)
    assert crate_verify.verify(tmp_path / "run.zip", tmp_path / "again") == []
    assert (tmp_path / "again" / FIGURE).read_bytes() == (exported / FIGURE).read_bytes()
    with pytest.raises(FileExistsError, match="is there already"):
        crate_verify.verify(exported, tmp_path / "again")


def test_what_is_not_in_order_is_not_exported(sandbox, tmp_path):
    (sandbox.path / FIGURE).write_bytes(b"better numbers")
    with pytest.raises(ValueError, match=f"modified +{FIGURE}"):
        crate.export(sandbox.path, tmp_path / "run.zip", ["mini"])
    assert not any(tmp_path.glob("*run.zip*"))


@pytest.mark.long
def test_an_object_store(sandbox, tmp_path, monkeypatch):
    """Pushed to an S3 server over HTTP and restored from it in a fresh clone; the credentials are in the environment
    alone.
    """
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    address = "http://127.0.0.1:{1}".format(*server.get_host_and_port())
    for name, value in {
        "AWS_ACCESS_KEY_ID": "engram-test",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        store = boto3.client("s3", endpoint_url=address)
        store.create_bucket(Bucket="engram")
        sandbox.git("add", "--all")
        sandbox.git("commit", "--quiet", "--message", "run")
        clone = Sandbox(tmp_path / "clone")
        for place, words in ((sandbox, ("push",)), (clone, ())):
            if not words:
                sandbox.git("clone", "--quiet", ".", clone.path)
            place.run("dvc", "remote", "add", "--local", "--default", "s3", "s3://engram/store")
            place.run("dvc", "remote", "modify", "--local", "s3", "endpointurl", address)
            if words:
                place.run("dvc", *words)
        assert store.list_objects_v2(Bucket="engram")["KeyCount"] > 100
        restore(clone)
        assert clone.jobs() == {} and clone.git("status", "--short") == ""
    finally:
        server.stop()
    for place in (sandbox, clone):
        holders = [path for path in place.path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
        assert holders == [], "the repository, its records, ledger and logs know no secret"
