"""Which files a checkpoint is made of where it lies on this machine, and what tells that one was exchanged."""

import os

import pytest

from engram.settings import checkpoint_files, original_files

HELD = ("config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "tokenizer.json")
OTHERS = ("README.md", "optimizer.pt", "pytorch_model.bin", "tf_model.h5", "training_args.bin")


@pytest.fixture
def folder(tmp_path):
    for name in (*HELD, *OTHERS):
        (tmp_path / name).write_text(name)
    (tmp_path / "vocab.json").mkdir()
    return tmp_path


def names(paths):
    return [os.path.basename(path) for path in paths]


def test_only_what_is_loaded_counts(folder):
    block = {"hub": str(folder), "revision": "main"}
    assert names(checkpoint_files.of(block)) == [*HELD]
    assert names(checkpoint_files.of(block | {"convert": True})) == sorted((*HELD, "pytorch_model.bin"))
    assert checkpoint_files.of({"gguf": "data/original/x.gguf"}) == ["data/original/x.gguf"]


def test_what_lies_elsewhere_has_no_files_here(tmp_path, monkeypatch):
    for block in ({"hub": "x/y", "revision": "main"}, {"train": {}}):
        assert checkpoint_files.of(block) == checkpoint_files.state(block) == []
    assert checkpoint_files.state({"gguf": "gone.gguf"}) == []
    fetched = tmp_path / original_files.FOLDER / "x.gguf"
    fetched.parent.mkdir(parents=True)
    fetched.touch()
    monkeypatch.chdir(tmp_path)
    block = {"gguf": f"{original_files.FOLDER}/x.gguf"}
    assert len(checkpoint_files.of(block)) == 1 and checkpoint_files.state(block) == [], "it comes to be during a run"


def test_an_exchanged_file_is_another_state_whatever_its_date(folder):
    block, file = {"hub": str(folder), "revision": "main"}, folder / HELD[1]
    before = checkpoint_files.state(block)
    assert [line.split()[:2] for line in before] == [[name, str(len(name))] for name in HELD]
    os.utime(file, ns=(0, 0))  # an older copy of the same size
    older = checkpoint_files.state(block)
    file.write_text("longer than its name is")
    os.utime(file, ns=(0, 0))
    longer = checkpoint_files.state(block)
    (folder / HELD[2]).unlink()
    assert [line for line in before if line not in older] == [before[1]]
    assert [line for line in longer if line not in older] == [longer[1]] and len(checkpoint_files.state(block)) == 3
