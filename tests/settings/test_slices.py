"""What a job gets of params.yaml: its text, and the keys that decide it."""

import json

from engram.settings.slices import Derived, Slice, slice_of, threads_of

VALUES = {
    "seed": 3,
    "run": {"threads": 1, "threads_of": {"known": 2}, "device": "cpu", "models": ["a"]},
    "models": {"a": {"hub": "x", "revision": "main", "records": {"count": 5, "only_known": True}, "noise": 0.1}},
    "known": {"batch": 4},
    "paper": {"i": {"n": 1}},
}


def test_a_stage_with_a_model_depends_on_how_torch_runs_and_what_is_loaded():
    found = slice_of(VALUES, "known", "a")
    model = {"name": "a", "hub": "x", "revision": "main"}
    run = {"threads": 2, "device": "cpu"}
    assert found == json.dumps({"seed": 3, "model": model, "run": run, "known": {"batch": 4}})
    keys = ("models.a.hub", "models.a.revision", "run.threads", "run.threads_of", "run.device", "known")
    assert found.keys == ("seed", *keys)
    assert threads_of(VALUES, "known") == 2 and threads_of(VALUES, "trace") == 1


def test_what_is_derived_brings_its_keys():
    chosen = Derived({"count": 2}, ["paper.i"])
    found = slice_of(
        VALUES, "edit", "a", "records", torch=False, chosen=chosen, method=Derived({"name": "m"}, ["methods.m.a"])
    )
    records = {"count": 2, "only_known": True}
    assert json.loads(found) == {"seed": 3, "model": {"name": "a", "records": records}, "method": {"name": "m"}}
    assert found.keys == ("seed", "models.a.records", "paper.i", "methods.m.a")
    assert VALUES["models"]["a"]["records"]["count"] == 5, "left as it was"


def test_what_takes_the_place_of_a_section_is_watched_instead():
    found = slice_of(
        VALUES, "known", "a", torch=False, known=Derived({"batch": 9}, ["known.batch"]), decided_by=["seed"]
    )
    assert json.loads(found)["known"] == {"batch": 9} and found.keys == ("seed", "known.batch")


def test_a_slice_is_text_like_any_other():
    """Snakemake keeps `repr` of a job's params: the keys must not make it run again."""
    assert repr(Slice({"a": 1}, ["a"])) == repr('{"a": 1}')
