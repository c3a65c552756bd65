"""Loading a published model: its dtype and revision, safetensors alone, none of its code."""

import json
import re
from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, Gemma3Config, Gemma3ForConditionalGeneration

import published
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


DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.mark.parametrize(
    ("kind", "how", "said"),
    [
        ("llama", lambda state: state.pop(DOWN), "lacks tensors, which would be random: " + DOWN),
        ("llama", lambda state: state.pop("lm_head.weight"), "lacks tensors, which would be random: lm_head.weight"),
        (
            "llama",
            lambda state: [state.pop(name) for name in sorted(state) if "layers.0" in name],
            "model.layers.0.mlp.up_proj.weight, model.layers.0.post_attention_layernorm.weight and 4 more",
        ),
        (
            "llama",
            lambda state: state.update({"model.layers.4.mlp.down_proj.weight": state[DOWN].clone()}),
            "has tensors that no part of the model takes: model.layers.4.mlp.down_proj.weight",
        ),
        (
            "llama",
            lambda state: state.update({"model.norm.weight": torch.ones(7)}),
            "has tensors of another shape: model.norm.weight [7] for [32]",
        ),
        ("gpt2", lambda state: state.pop("transformer.wte.weight"), "lacks tensors, which would be random: "),
    ],
)
def test_a_checkpoint_is_loaded_whole_or_not_at_all(kind, how, said, tmp_path):
    folder = published.copy_of(kind, tmp_path / "x")
    published.change(folder, how)
    whole = "right is a whole checkpoint of the architecture that its config.json names"
    with pytest.raises(ValueError, match=rf"^model mine: the checkpoint .*{re.escape(said)}.*; {whole}$"):
        loading.load("mine", folder)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("gpt2", ["transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias"]),
        ("llama", ["model.layers.0.self_attn.rotary_emb.inv_freq"]),
        ("gpt_neox", ["gpt_neox.layers.0.attention.rotary_emb.inv_freq", "gpt_neox.layers.1.attention.masked_bias"]),
    ],
)
def test_leftovers_of_older_versions_are_passed_over(kind, names, tmp_path):
    folder = published.copy_of(kind, tmp_path / "x")
    published.change(folder, lambda state: state.update(dict.fromkeys(names[:1], torch.full((4,), 9.0))))
    published.change(folder, lambda state: state.update({name: torch.full((4,), 9.0) for name in names[1:]}))
    one, other = loading.load("mine", folder).model, toy.loaded(kind).model
    assert dict(one.named_parameters()).keys() == dict(other.named_parameters()).keys()
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(one(input_ids=ids).logits, other(input_ids=ids).logits)


def test_a_tied_head_need_not_be_in_the_checkpoint(tmp_path):
    folder = published.copy_of("gpt2", tmp_path / "x")
    published.change(folder, lambda state: state.pop("lm_head.weight", None))
    model = loading.load("mine", folder).model
    assert model.lm_head.weight is model.transformer.wte.weight


def test_quantised_weights_are_refused_before_they_are_read(tmp_path):
    folder = published.copy_of("llama", tmp_path / "x")
    published.set_key(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    (folder / published.WEIGHTS).unlink()
    with pytest.raises(ValueError, match=r"model mine: its weights are quantised \(gptq\), .* a GGUF file, which"):
        loading.load("mine", folder)


def test_a_text_must_not_become_a_token_without_an_embedding(tmp_path):
    toy.checkpoint("llama", tmp_path / "small", vocabulary=300, layers=1)
    with pytest.raises(ValueError, match=r"30 tokens beyond the 300 rows of the embeddings, the first '\S+' with id"):
        loading.load("mine", tmp_path / "small")
    folder = published.copy_of("llama", tmp_path / "x")  # a word of a chat, which no text becomes by itself
    tokenizer = loading.load("mine", folder).tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|chat|>"]})
    tokenizer.save_pretrained(folder)
    lm = loading.load("mine", folder)
    assert len(lm.tokenizer) == lm.model.config.vocab_size + 1


def test_a_tokenizer_that_does_not_say_where_tokens_lie(tmp_path):
    folder = published.copy_of("llama", tmp_path / "x")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    with pytest.raises(ValueError, match=r"model mine: its tokenizer, ByT5Tokenizer, does not say .* tokenizer.json"):
        loading.load("mine", folder)


def test_of_a_model_of_texts_and_pictures_the_part_for_texts(tmp_path):
    text = toy.lm("gemma3_text")
    sight = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Gemma3Config(
        text_config=text.model.config.to_dict(),
        vision_config=sight | {"image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
    )
    whole = Gemma3ForConditionalGeneration(config).eval()
    whole.save_pretrained(tmp_path)
    text.tokenizer.save_pretrained(tmp_path)
    lm = loading.load("mine", tmp_path)
    assert lm.layers == toy.LAYERS and not [name for name, _ in lm.model.named_parameters() if "vision" in name]
    ids = torch.tensor([lm.tokenizer(toy.TEXT[0])["input_ids"]])
    with torch.no_grad():
        wanted = whole(input_ids=ids).logits
        assert torch.equal(lm.logits(lm.hidden(ids)), wanted) and torch.equal(lm.model(input_ids=ids).logits, wanted)
    assert wanted.std() > 0.01
