"""Loading a published model: its dtype and revision, safetensors alone, none of its code."""

import json
from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig

import toy
from engram.editing.tuning import finetune
from engram.methods import rome
from engram.model import loading
from engram.model.delta import applied
from engram.settings import objective
from engram.tracing import causal_trace
from probed_models import FACT, aids_of, job_of, outputs_of
from traced_prompts import CONFIG, NOISE, table_of


@pytest.mark.parametrize("dtype", loading.DTYPES)
def test_weights_in_the_dtype_that_is_asked_for(dtype):
    """Loaded by a stage; ROME's theorem holds to the precision of the dtype; second moments and values are at least
    float32.
    """
    model = loading.open_lm(job_of(toy._folder("llama").name, dtype=dtype), "cpu")
    assert {parameter.dtype for parameter in model.model.parameters()} == {loading.DTYPES[dtype]}
    aids, eps = aids_of(model, 1), torch.finfo(loading.DTYPES[dtype]).eps
    assert aids.moments[1].total.dtype == torch.float64
    with applied(model, rome.edit(model, [FACT], objective.Settings(layer=1), aids)):
        _, now, _ = outputs_of(model, 1)
    wanted = aids.targets[FACT.case_id]
    assert (now.double() - wanted).norm() < 20 * eps * wanted.norm()
    effects, _ = causal_trace.trace(model, table_of(model), NOISE, replace(CONFIG, samples=2, precision="loaded"), 2, 0)
    assert effects["score"].between(0, 1).all()
    if dtype == "float16":
        with pytest.raises(ValueError, match="weights in float16, where Adam's steps are lost"):
            finetune.tune(model, [FACT], finetune.value_names(model, 1), finetune.Settings(layer=1))


def test_without_a_dtype_weights_are_float32():
    assert loading.open_lm(job_of(toy._folder("qwen2").name), "cpu").model.dtype == torch.float32


def test_an_architecture_without_a_row_is_told_what_to_add(tmp_path):
    AutoConfig.for_model("bloom").save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match="bloom"
    ) as error:  # before tokenizer or weights are looked for: there are none
        loading.load("mine", tmp_path)
    said = str(error.value)
    for word in (
        "mine",
        "'bloom'",
        "engram.model.architectures.ARCHITECTURES",
        "engram.model.block_parts.PARTS",
        "'gpt2'",
        "block, attn, mlp, value, embed, norm, head",
        "block_tuple",
    ):
        assert word in said


def test_every_file_is_asked_for_at_the_revision_without_remote_code(monkeypatch):
    asked = []
    for name in ("AutoConfig", "AutoTokenizer", "AutoModelForCausalLM"):
        owner, real = getattr(loading, name), getattr(loading, name).from_pretrained

        def noted(place, *args, real=real, name=name, **kwargs):
            asked.append((name, kwargs))
            return real(place, *args, **kwargs)

        monkeypatch.setattr(loading, name, type(name, (owner,), {"from_pretrained": staticmethod(noted)}))
    loading.load("x", toy._folder("llama").name, revision="a" * 40)
    assert [name for name, _ in asked] == ["AutoConfig", "AutoTokenizer", "AutoModelForCausalLM"]
    assert all(kwargs["revision"] == "a" * 40 and kwargs["trust_remote_code"] is False for _, kwargs in asked)
    assert asked[-1][1]["use_safetensors"] is True


@pytest.mark.parametrize("kind", ["llama", "opt"])
def test_only_safetensors_are_read(kind, tmp_path):
    toy.checkpoint(kind, tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        loading.load("x", tmp_path)


@pytest.mark.parametrize("kind", ["llama", "own"])
def test_code_of_a_checkpoint_is_not_run(kind, tmp_path):
    toy.checkpoint("llama", tmp_path)
    path, marker = tmp_path / "config.json", tmp_path / "ran"
    (tmp_path / "code.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Config: pass\nclass Model: pass\n")
    path.write_text(
        json.dumps(
            json.loads(path.read_text())
            | {"model_type": kind, "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}}
        )
    )
    if kind == "llama":  # transformers' own class
        assert type(loading.load("x", tmp_path).model).__module__.startswith("transformers.")
    else:
        with pytest.raises(ValueError, match="custom code"):
            loading.load("x", tmp_path)
    assert not marker.exists()
