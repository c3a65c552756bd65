"""Checkpoints that are no safetensors become the same model, the same bytes each time, and run nothing."""

import json
import os
import re

import numpy as np
import pytest
import safetensors.torch
import torch

import gguf_files
import published
import toy
from engram.job import io, lineage
from engram.model import checkpoints, conversion, loading

MAKES = ("weights", "model_config", "generation_config", "tokenizer", "tokenizer_config", "origin")


def pickled(folder, kind="llama", shards=1, **how):
    """A checkpoint whose weights are in PyTorch's own format, and its tensors."""
    published.copy_of(kind, folder)
    state = safetensors.torch.load_file(folder / published.WEIGHTS)
    (folder / published.WEIGHTS).unlink()
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin", **how)
        return folder, state
    places = {name: f"pytorch_model-0000{1 + i % shards}-of-0000{shards}.bin" for i, name in enumerate(sorted(state))}
    for file in set(places.values()):
        torch.save({name: state[name] for name, place in places.items() if place == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    return folder, state


def stage(folder, block, *files):
    """The folder that stage `convert` makes, and its manifest."""
    made = published.convert(folder, block, *files)
    path = published.manifest(
        folder.parent / f"{folder.name}-checkpoint", block, **{k: made[k] for k in ("weights", "origin")}
    )
    return made, checkpoints.read(path)


@pytest.mark.parametrize("kind", ["F32", "Q8_0", "Q4_1"])
def test_a_gguf_file_becomes_what_gguf_itself_reads(kind, tmp_path):
    lm, file = toy.lm("llama"), tmp_path / "x.gguf"
    wanted = gguf_files.write(file, lm, kind)
    model, tokenizer, quantisation, licence = conversion.from_gguf("x", file, torch.float32)
    found = gguf_files.tensors_of(loading.wrap("x", model, tokenizer))
    assert found.keys() == wanted.keys() and all(np.array_equal(found[name], wanted[name]) for name in wanted)
    assert (quantisation, licence) == (kind, "apache-2.0")
    for text in toy.TEXT:
        assert tokenizer(text)["input_ids"] == lm.tokenizer(text)["input_ids"]
    if kind == "F32":
        ids = torch.tensor([[5, 6, 7, 8]])
        assert torch.allclose(model(input_ids=ids).logits, lm.model(input_ids=ids).logits, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_stage_writes_the_same_bytes_twice(dtype, tmp_path):
    gguf_files.write(tmp_path / "x.gguf", toy.lm("llama"), "Q4_1")
    block = {"gguf": str(tmp_path / "x.gguf"), "dtype": dtype}
    (one, about), (two, _) = (stage(tmp_path / name, block, tmp_path / "x.gguf") for name in ("one", "two"))
    assert {name: lineage.sha256(path) for name, path in one.items()} == {
        name: lineage.sha256(path) for name, path in two.items()
    }
    assert {str(t.dtype) for t in safetensors.torch.load_file(one["weights"]).values()} == {f"torch.{dtype}"}
    assert "quantization_config" not in json.loads(one["model_config"].read_text())
    assert io.read_json(one["origin"])["files"] == {"x.gguf": lineage.sha256(tmp_path / "x.gguf")}
    said = {key: about[key] for key in ("kind", "source", "quantisation", "licence", "dtype")}
    assert said == {"kind": "gguf", "source": "x.gguf", "quantisation": "Q4_1", "licence": "apache-2.0", "dtype": dtype}
    assert sorted(about["files"]) == sorted(one[name].name for name in MAKES[:-1])
    manifest = tmp_path / "one-checkpoint" / "manifest.json"
    lm = loading.open_lm(published.job(block, manifest, one["weights"]), "cpu")
    assert checkpoints.weights_hash(lm.model) == about["weights"]
    published.change(tmp_path / "one", published.other_values)
    with pytest.raises(ValueError, match=r"one/model\.safetensors has other bytes than its manifest"):
        loading.open_lm(published.job(block, manifest, one["weights"]), "cpu")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"without": ("blk.1.ffn_up.weight",)}, "tensors, which would be random: model.layers.1.mlp.up_proj.weight;"),
        ({"more": {"rope_freqs.weight": np.ones(4, "float32")}}, "that no part of the model takes: rope_freqs.weight;"),
        ({"more": {"blk.0.attn_q.bias": np.ones(32, "float32")}}, "no part of the model takes: blk.0.attn_q.bias;"),
        ({"architecture": "gptj"}, "x.gguf cannot be read: GGUF model with architecture gptj is not supported yet"),
        ({"architecture": "falcon"}, "no row for model_type 'falcon' in engram.model.architectures.ARCHITECTURES"),
    ],
)  # fmt: skip
def test_a_gguf_file_that_would_be_another_model(how, said, tmp_path):
    gguf_files.write(tmp_path / "x.gguf", toy.lm("llama"), **how)
    with pytest.raises(ValueError, match=rf"^model mine: .*{re.escape(said)}"):
        conversion.from_gguf("mine", tmp_path / "x.gguf", torch.float32)


@pytest.mark.parametrize("cut", ["other", "empty", "head", "half"])
def test_a_file_that_is_no_gguf(cut, tmp_path):
    file = tmp_path / "x.gguf"
    gguf_files.write(file, toy.lm("llama"))
    whole = file.read_bytes()
    file.write_bytes({"other": b"PK" + whole, "empty": b"", "head": whole[:40], "half": whole[: len(whole) // 2]}[cut])
    with pytest.raises(ValueError, match=r"x\.gguf: not a GGUF file that can be read: [^\n]+$"):
        conversion.from_gguf("mine", file, torch.float32)


@pytest.mark.parametrize(
    ("kind", "shards", "how"),
    [("llama", 1, {}), ("llama", 2, {}), ("gpt2", 1, {"_use_new_zipfile_serialization": False}), ("opt_350m", 1, {})],
)
def test_a_pickled_checkpoint_becomes_the_same_model(kind, shards, how, tmp_path):
    folder, state = pickled(tmp_path / "pickled", kind, shards, **how)
    block = {"hub": str(folder), "revision": "main"}
    with pytest.raises(ValueError, match=r"model x: .* no model\.safetensors; right is `convert: true` in models\.x"):
        published.manifest(tmp_path / "refused", block)
    made, about = stage(tmp_path / "made", block | {"convert": True}, *sorted(folder.glob("*.bin")))
    found = safetensors.torch.load_file(made["weights"])
    assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)
    assert about["weights"] == checkpoints.weights_hash(toy.loaded(kind).model) and about["quantisation"] is None
    assert io.read_json(made["origin"])["files"] == {
        path.name: lineage.sha256(path) for path in folder.glob("pytorch_model*.bin")
    }


def test_a_pickled_checkpoint_of_the_hub_is_read_at_its_commit(tmp_path, monkeypatch):
    import huggingface_hub.constants

    folder, _ = pickled(tmp_path / "pickled")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    published.snapshot(tmp_path / "hub", folder, "c" * 40)
    _, about = stage(tmp_path / "made", {"hub": "x/y", "revision": "main", "convert": True})
    assert (about["kind"], about["commit"]) == ("hub", "c" * 40)
    assert about["weights"] == checkpoints.weights_hash(toy.loaded("llama").model)


class Code:
    """A pickle that runs a command when it is read."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("new", [True, False])
def test_a_pickle_that_holds_code_is_refused_and_not_run(new, tmp_path):
    folder, state = pickled(tmp_path / "pickled")
    marker = tmp_path / "ran"
    torch.save(state | {"x": Code(marker)}, folder / "pytorch_model.bin", _use_new_zipfile_serialization=new)
    with pytest.raises(
        ValueError, match=r"model mine: \S+/pytorch_model\.bin is not read, for it holds more than tensors"
    ):
        conversion.from_pickled("mine", folder, torch.float32)
    assert not marker.exists()
    run, words = Code(marker).__reduce__()
    run(*words)
    assert marker.exists(), "what it holds would have been seen"


def test_a_pickled_checkpoint_is_whole_or_refused(tmp_path):
    folder, state = pickled(tmp_path / "pickled", shards=2)
    lost = folder / "pytorch_model-00002-of-00002.bin"
    lost.unlink()
    with pytest.raises(ValueError, match=rf"model mine: \S+index\.json names files that are not there: {lost.name}$"):
        conversion.from_pickled("mine", folder, torch.float32)
    (folder / "pytorch_model.bin.index.json").unlink()
    with pytest.raises(ValueError, match=r"pickled has no pytorch_model\.bin, which is what `convert: true` reads"):
        conversion.from_pickled("mine", folder, torch.float32)
    state.pop("model.norm.weight")
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"lacks tensors, which would be random: model\.norm\.weight;"):
        conversion.from_pickled("mine", folder, torch.float32)
    published.set_key(folder / "config.json", quantization_config={"quant_method": "gptq"})
    with pytest.raises(ValueError, match=r"model mine: its weights are quantised \(gptq\)"):
        conversion.from_pickled("mine", folder, torch.float32)
