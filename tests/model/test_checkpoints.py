"""What a model is: its source, its files, its manifest, and the files held to it."""

import json
import shutil

import huggingface_hub.constants
import pytest
import torch

import published
import toy
from engram.job import io
from engram.model import checkpoints, loading

OLD, NEW = "a" * 40, "b" * 40
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def folder(tmp_path):
    return published.copy_of("llama", tmp_path / "x")


@pytest.fixture
def shards(tmp_path):
    """A checkpoint in two files, and its index."""
    toy.lm("llama").model.save_pretrained(tmp_path / "shards", max_shard_size="200KB")
    toy.tokenizer("llama").save_pretrained(tmp_path / "shards")
    assert {path.name for path in (tmp_path / "shards").glob("*.safetensors")} == {*SHARDS}
    return tmp_path / "shards"


def written(folder, **more):
    lm = loading.load("x", folder, **more)
    return checkpoints.manifest("x", checkpoints.Source("folder", str(folder)), folder, lm.model, lm.tokenizer)


@pytest.fixture
def hub(tmp_path, folder, monkeypatch):
    """A cache of the hub with two commits of the repository x/y, whose weights differ; main is the older one."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    published.change(folder, published.other_values)
    published.snapshot(tmp_path / "hub", folder, NEW)
    published.snapshot(tmp_path / "hub", published.copy_of("llama", tmp_path / "old"), OLD)
    return tmp_path / "hub" / "models--x--y"


def test_the_source_of_a_model(folder, hub):
    for block, source in (
        ({"gguf": "data/original/x.gguf"}, ("gguf", "x.gguf", None)),
        ({"train": {}, "name": "mini"}, ("trained", "mini", None)),
        ({"hub": str(folder), "revision": "main"}, ("folder", str(folder), None)),
        ({"hub": "x/y", "revision": NEW}, ("hub", "x/y", NEW)),
        ({"hub": "x/y", "revision": "main"}, ("hub", "x/y", OLD)),
    ):
        assert checkpoints.source_of(block) == source
    with pytest.raises(OSError, match="Cannot find an appropriate cached snapshot"):
        checkpoints.source_of({"hub": "x/z", "revision": "main"})


def test_a_folder_without_weights_or_configuration_is_refused(folder):
    (folder / published.WEIGHTS).rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"has pytorch_model\.bin and no model\.safetensors; right is `convert: true`"):
        checkpoints.files_of("x", folder)
    (folder / "pytorch_model.bin").rename(folder / "pytorch_model.bin.index.json")
    with pytest.raises(ValueError, match=r"has pytorch_model\.bin\.index\.json and no .* `convert: true` in models"):
        checkpoints.files_of("x", folder)
    (folder / "pytorch_model.bin.index.json").unlink()
    with pytest.raises(ValueError, match=r"has no weights and no model\.safetensors; right is a folder as save"):
        checkpoints.files_of("x", folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"model x: \S+ has no config\.json; right is a folder as save"):
        checkpoints.files_of("x", folder)


def test_every_shard_is_in_the_manifest_and_makes_the_same_model(folder, shards):
    (shards / "model-00009-of-00009.safetensors").write_bytes(b"of another checkpoint")
    one, other = written(folder), written(shards)
    assert set(other["files"]) == {*SHARDS, checkpoints.INDEX, *one["files"]} - {published.WEIGHTS}
    assert one["weights"] == other["weights"] and one["tokenizer"] == other["tokenizer"]
    assert other["bytes"] == {name: (shards / name).stat().st_size for name in other["files"]}


def test_a_shard_that_is_not_there_is_named_before_anything_is_read(shards):
    (shards / SHARDS[0]).write_bytes(b"no safetensors")
    (shards / SHARDS[1]).unlink()
    with pytest.raises(ValueError, match=rf"index\.json names files that are not there: {SHARDS[1]}; right is every"):
        published.manifest(shards.parent, {"hub": str(shards), "revision": "main"})


def test_a_manifest_says_what_the_model_is(folder):
    found = written(folder, dtype=torch.bfloat16)
    model = toy.lm("llama").model
    assert (found["architecture"], found["dtype"], found["tied"]) == ("llama", "bfloat16", False)
    assert found["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert written(published.copy_of("gpt2", folder.parent / "gpt2"))["tied"] is True
    path = folder / "manifest.json"
    io.write(path, found)
    assert checkpoints.read(path) == found


def test_the_hash_of_weights_is_of_names_types_shapes_and_values(folder):
    model = toy.lm("llama").model
    before = checkpoints.weights_hash(model)
    assert before == checkpoints.weights_hash(toy.loaded("llama").model) == written(folder)["weights"]
    assert before != checkpoints.weights_hash(toy.lm("llama", dtype=torch.bfloat16).model)
    weight = model.model.layers[1].mlp.down_proj.weight
    weight.data[3, 4] += 1
    changed = checkpoints.weights_hash(model)
    weight.data = weight.data.view(weight.shape[1], weight.shape[0])
    assert len({before, changed, checkpoints.weights_hash(model)}) == 3


def test_files_are_held_to_their_manifest(folder):
    found = written(folder)
    checkpoints.verify(found, folder)
    known = {folder / name: digest for name, digest in found["files"].items()}
    checkpoints.verify(found, folder, known)
    with pytest.raises(ValueError, match=r"model\.safetensors has other bytes than its manifest"):
        checkpoints.verify(found, folder, known | {folder / published.WEIGHTS: "0" * 64})
    (folder / "README.md").write_text("no part of the model")
    checkpoints.verify(found, folder)
    (folder / "generation_config.json").unlink()
    with pytest.raises(ValueError, match=r"model x: \S+/generation_config\.json is not there, but in its manifest"):
        checkpoints.verify(found, folder)


@pytest.mark.parametrize(
    ("file", "how"),
    [
        (published.WEIGHTS, lambda folder: published.change(folder, published.other_values)),
        ("tokenizer.json", lambda folder: published.set_key(folder / "tokenizer.json", version="1.1")),
        ("config.json", lambda folder: published.set_key(folder / "config.json", rms_norm_eps=0.1)),
    ],
)
def test_what_was_exchanged_since_is_not_loaded(file, how, folder):
    block = {"hub": str(folder), "revision": "main"}
    path = published.manifest(folder / "manifest", block)
    before = loading.open_lm(published.job(block, path), "cpu")
    assert checkpoints.weights_hash(before.model) == checkpoints.read(path)["weights"]
    how(folder)
    with pytest.raises(ValueError, match=rf"model x: \S+/{file} has other bytes than its manifest of .* run again,"):
        loading.open_lm(published.job(block, path), "cpu")


def test_the_licence_that_a_model_card_names(tmp_path):
    assert checkpoints.licence_of(tmp_path) is None
    for card, licence in (
        ("---\nlanguage: en\nlicense: apache-2.0\n---\nA model.", "apache-2.0"),
        ("---\nlanguage: en\n---\nlicense: mit", None),
        ("A model.\nlicense: mit\n", None),
    ):
        (tmp_path / "README.md").write_text(card)
        assert checkpoints.licence_of(tmp_path) == licence


def test_a_manifest_names_the_commit_and_stages_keep_to_it(hub, tmp_path):
    block = {"hub": "x/y", "revision": "main"}
    old = published.manifest(tmp_path / "one", block)
    about = checkpoints.read(old)
    assert (about["kind"], about["source"], about["commit"]) == ("hub", "x/y", OLD)
    (hub / "refs" / "main").write_text(NEW)
    again = loading.open_lm(published.job(block, old), "cpu")
    assert checkpoints.weights_hash(again.model) == about["weights"], "of the commit in the manifest, not of main"
    new = checkpoints.read(published.manifest(tmp_path / "two", block))
    assert new["commit"] == NEW and new["weights"] != about["weights"]
    shutil.rmtree(hub / "snapshots" / OLD)
    with pytest.raises(OSError, match="Cannot find an appropriate cached snapshot"):
        loading.open_lm(published.job(block, old), "cpu")


def test_a_blob_of_the_hub_that_was_changed_is_not_loaded(hub, tmp_path):
    block = {"hub": "x/y", "revision": OLD}
    path = published.manifest(tmp_path / "one", block)
    blob = hub / "blobs" / f"{OLD[:4]}-tokenizer.json"
    blob.write_text(json.dumps(json.loads(blob.read_text()) | {"version": "1.1"}))
    with pytest.raises(ValueError, match=r"snapshots/a+/tokenizer\.json has other bytes than its manifest"):
        loading.open_lm(published.job(block, path), "cpu")
