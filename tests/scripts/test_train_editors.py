"""Stage `hypernet` through its command line, on a toy model: artifact, losses, lineage, a run that was killed."""

import shutil
from types import SimpleNamespace

import pandas as pd
import pytest

from editor_runs import COUNT, DATA, NETWORKS, inputs_in, run, section
from engram.editing import editor
from engram.editing.facts import Fact
from engram.editing.trained_editors import editors
from engram.job import io, lineage, resuming
from engram.model import loading
from engram.settings import trained_editors


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A toy model on disk, the tables of a small world, of which it is said to know every second fact."""
    return inputs_in(tmp_path_factory.mktemp("inputs"))


def fresh(inputs):
    return loading.load("toy", inputs["weights"].parent)


@pytest.mark.parametrize(("net", "task"), [("mend", "gen"), ("mend", "facts"), ("ke", "zsre")])
def test_an_editor_from_the_command_line(inputs, tmp_path, monkeypatch, net, task):
    monkeypatch.chdir(tmp_path)
    made = run(inputs, tmp_path / "a", f"{net}-x", section(net, task))
    for path in made.values():
        record = io.read_json(lineage.record_path(path))
        assert record["sha256"] == lineage.sha256(path) and record["stage"] == "hypernet"
        assert {one["name"] for one in record["inputs"]} == {name.replace("-", "_") for name in inputs}
    log = pd.read_csv(made["loss"])
    assert list(log.columns) == ["model", "name", "split", "step", "edit", "locality", "total"]
    assert list(log[log["split"] == "validation"]["step"]) == [3, 6, 9] and set(log["name"]) == {f"{net}-x"}
    tensors, about = io.read_tensors(made["hypernet"])
    records = io.read_table(inputs["facts" if task == "facts" else "zsre"])
    used = {case for part in about["case_id"].values() for case in part}
    edited = set(records["case_id"][::2][:COUNT]) | (set(records["case_id"][:COUNT]) if task == "zsre" else set())
    assert about["task"] == task and len(used) == (0 if task == "gen" else 16) and not used & edited
    lm = fresh(inputs)
    rows = records.iloc[sorted(edited)[:1]]
    fact = Fact(0, rows["subject"].iloc[0], rows["prompt"].iloc[0], rows["target_new"].iloc[0])
    method = editor.load(net)
    delta = method.edit(lm, [fact], method.Settings(), SimpleNamespace(hypernet=(tensors, about)))
    assert all(delta.norm(name) > 0 for name in delta.parts) and len(delta.parts) == 4
    again = run(inputs, tmp_path / "b", f"{net}-x", section(net, task))
    assert all(made[name].read_bytes() == again[name].read_bytes() for name in made)
    assert not (tmp_path / ".resume").exists()


def test_a_killed_run_is_taken_up(inputs, tmp_path, monkeypatch):
    """Killed while a shard is being kept: the next call goes on from the one before, to the bytes of an unbroken
    run.
    """
    monkeypatch.chdir(tmp_path)
    whole = {
        name: path.read_bytes()
        for name, path in run(inputs, tmp_path / "out", "mend", section("mend", "facts")).items()
    }
    shutil.rmtree(tmp_path / "out")
    plain = resuming.Store.save

    def killed(self, index, values, keep_earlier=True):
        if index == 2:
            raise KeyboardInterrupt
        plain(self, index, values, keep_earlier)

    monkeypatch.setattr(resuming.Store, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        run(inputs, tmp_path / "out", "mend", section("mend", "facts"))
    monkeypatch.setattr(resuming.Store, "save", plain)
    assert not (tmp_path / "out").exists() and list((tmp_path / ".resume").rglob("0001.json"))
    made = run(inputs, tmp_path / "out", "mend", section("mend", "facts"))
    assert {name: path.read_bytes() for name, path in made.items()} == whole
    assert not (tmp_path / ".resume").exists()


def test_wrong_settings_are_named(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for change, message in [
        ({"network": NETWORKS["ke"]}, r"hypernet.mend, model toy, network: .*condition: Unexpected keyword argument"),
        ({"task": "wiki"}, "no task 'wiki'"),
        ({"net": "rome"}, "no editor 'rome'"),
        ({"data": DATA | {"validation": 40}}, "too few to train on besides 40 for validation"),
    ]:
        with pytest.raises(ValueError, match=message):
            run(inputs, tmp_path, "mend", section("mend", "facts") | change)


def test_a_published_editor_is_taken_over(inputs, tmp_path, monkeypatch):
    """With a file there is nothing to train: the artifact holds it, the table of losses has no rows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "engram.editing.trained_editors.published_editors.load",
        lambda path, lm, kind: editors.to_artifact(
            editors.build(lm, kind, editors.settings_of(kind, NETWORKS[kind]), 0), {"seen": [], "task": path.name}
        ),
    )
    (tmp_path / "mend.pt").write_bytes(b"stands for a published file")
    made = run(inputs | {"published": tmp_path / "mend.pt"}, tmp_path, "mend", {"net": "mend"})
    assert len(pd.read_csv(made["loss"])) == 0
    assert editors.restore(fresh(inputs), "mend", *io.read_tensors(made["hypernet"])).settings.rank == 8
    assert "published" in {one["name"] for one in io.read_json(lineage.record_path(made["loss"]))["inputs"]}


def test_the_section_of_one_editor():
    """What a job depends on is its own editor's alone; what a paper item wants and nothing trains is said
    beforehand.
    """
    values = {
        "run": {"models": ["mini"]},
        "models": {"mini": {}, "big": {}},
        "hypernet": {
            "editors": {"mend": {"net": "mend", "task": "gen"}, "ke": {"net": "ke", "task": "gen"}},
            "published": {"big": {"mend": "x.pt"}},
            "mend": {"mini": {"data": 1}},
            "ke": {},
        },
    }
    assert trained_editors.section(values, "mini", "mend") == {"net": "mend", "task": "gen", "data": 1}
    assert (
        trained_editors.section(values, "big", "mend") == {"net": "mend"}
        and trained_editors.published(values, "mini", "mend") is None
    )
    found = {problem[0] for problem in trained_editors.problems(values, {"mend", "ke", "ke-cf"})}
    assert found == {("hypernet", "ke"), ("hypernet", "editors")}
    values["run"]["models"], values["hypernet"]["published"]["large"] = ["big"], {"mend-x": "y.pt"}
    found = {problem[0] for problem in trained_editors.problems(values, {"mend"})}
    assert found == {("hypernet", "published", "large"), ("hypernet", "published", "large", "mend-x")}
