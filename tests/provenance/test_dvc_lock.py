"""A dvc.lock that was edited by hand, or lacks a stage, is noticed."""

import pytest
import yaml

from engram.provenance import dvc_lock
from tampered_runs import words


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("outs", lambda entry: entry["outs"][0].update(md5="0" * 32 + ".dir")),
        ("size", lambda entry: entry["outs"][0].update(size=1)),
        ("deps", lambda entry: entry["deps"][0].update(md5="0" * 32)),
        ("fewer", lambda entry: entry["deps"].pop()),
        ("cmd", lambda entry: entry.update(cmd="true")),
        ("params", lambda entry: entry["params"]["params.yaml"].update(seed=1)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_hand_edited_lock(look, sandbox, old, new):
    lock = dvc_lock.read(sandbox.path / "dvc.lock")
    new(lock["stages"]["trace@mini"])
    (sandbox.path / "dvc.lock").write_text(yaml.dump(lock, Dumper=yaml.CSafeDumper))
    assert words(look()) == {"trace@mini": "dvc.lock"}


def test_a_stage_that_is_not_in_the_lock(look, sandbox):
    lock = dvc_lock.read(sandbox.path / "dvc.lock")
    del lock["stages"]["trace@mini"]
    (sandbox.path / "dvc.lock").write_text(yaml.dump(lock, Dumper=yaml.CSafeDumper))
    assert look()["trace@mini"].detail == "is not in dvc.lock"
