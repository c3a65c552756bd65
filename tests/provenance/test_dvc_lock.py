"""A dvc.lock that was edited by hand, or lacks a stage, is noticed."""

import yaml

from engram.provenance import dvc_lock

EDITS = {  # each on another stage
    "trace@mini": lambda entry: entry["outs"][0].update(md5="0" * 32 + ".dir"),
    "noise@mini": lambda entry: entry["outs"][0].update(size=1),
    "known@mini": lambda entry: entry["deps"][0].update(md5="0" * 32),
    "gradients@mini": lambda entry: entry["deps"].pop(),
    "prefixes@mini": lambda entry: entry.update(cmd="true"),
    "covariance@mini": lambda entry: entry["params"]["params.yaml"].update(seed=1),
}


def test_every_hand_edited_entry_of_the_lock_is_noticed(look, sandbox):
    lock = dvc_lock.read(sandbox.path / "dvc.lock")
    for stage, edit in EDITS.items():
        edit(lock["stages"][stage])
    del lock["stages"]["train@mini"]
    (sandbox.path / "dvc.lock").write_text(yaml.dump(lock, Dumper=yaml.CSafeDumper))
    found = look()
    assert {path: verdict.word for path, verdict in found.items()} == dict.fromkeys([*EDITS, "train@mini"], "dvc.lock")
    assert found["train@mini"].detail == "is not in dvc.lock"
