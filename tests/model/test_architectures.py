"""Every architecture, by way of files as a published model comes: what its row promises, and the theorems that hold on
it.

Traces, second moments, optimised values, scores and texts of all architectures: test_tracing, test_covariance,
test_targets, test_outcomes.
"""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from test_causal_trace import CONFIG, NOISE, table_of
from test_closed_form import Aids
from test_covariance import LONG
from test_outcomes import RECORDS, config, deltas
from transformers import AutoConfig, AutoModelForCausalLM

import toy
from engram.editing import covariance, outcomes
from engram.editing.facts import Fact
from engram.editing.hypernet import factors
from engram.editing.tuning import batched_finetune, finetune
from engram.editing.values import targets
from engram.methods import memit, rome
from engram.model import adapters, batches, block_parts, loading, placement
from engram.model.architectures import ARCHITECTURES
from engram.model.delta import applied
from engram.model.hooks import captured, resumed
from engram.settings import objective
from engram.tracing import causal_trace, noise
from toy import PROMPTS, loaded
from tracing_oracle import first

BEHIND = ("gemma2", "gemma3_text", "opt_350m")  # a norm stands between an MLP and its block's output
FACT = Fact(3, PROMPTS[0][1], "He said: {} premieres on", "French")
CONTEXTS = ("{}", "Zürich is. {}", "He plays the. {}")


def ids_of(model, text=PROMPTS[0][0]):
    return torch.tensor([model.tokenizer(text)["input_ids"]])


def test_every_row_has_a_toy_and_an_inside():
    kinds = {toy.lm(kind).model.config.model_type for kind in toy.ARCHITECTURES}
    assert kinds == set(ARCHITECTURES) == set(block_parts.PARTS)


@pytest.mark.parametrize("kind", toy.ARCHITECTURES)
def test_a_row_names_what_it_says(kind):
    """Shapes of all that is hooked, the head's way to the logits, forwards from a block on, and the projections'
    names.
    """
    model, before = loaded(kind), {}
    ids = torch.cat([ids_of(model), ids_of(model).flip(1)])
    modules = {
        (part, layer): model.module(part, layer) for part in ("block", "attn", "mlp", "value") for layer in (0, 2)
    }
    handle = model.module("block", 1).register_forward_hook(lambda _m, _i, output: before.update(block=output))
    with captured(modules) as outputs, captured({"key": model.module("value", 2)}, "input") as keys, torch.no_grad():
        wanted = model.model(input_ids=ids).logits
    handle.remove()
    assert {tuple(output.shape) for output in outputs.values()} == {(*ids.shape, model.width)}
    assert keys["key"].shape == (*ids.shape, model.key_width(2)) and torch.equal(outputs["mlp", 2], outputs["value", 2])
    weight, bias = model.value_weight(2), getattr(modules["value", 2], "bias", None)
    made = keys["key"] @ weight.T + (0 if bias is None else bias)
    assert weight.shape == (model.width, model.key_width(2)) and torch.allclose(made, outputs["value", 2], atol=1e-5)
    assert isinstance(before["block"], tuple) == model.arch.block_tuple
    assert torch.allclose(model.logits(model.hidden(ids)), wanted, atol=1e-6)
    with resumed(model, 1, first(before["block"])):
        assert torch.allclose(model.logits(model.hidden(torch.zeros_like(ids))), wanted, atol=1e-6)
    names = dict(model.model.named_parameters())
    queries = finetune.attention_names(model, 1)
    inside = {name for name in names if name.startswith(model.arch.attn.format(1)) and "norm" not in name}
    assert (
        set(queries) < inside and len({name.rsplit(".", 1)[0] for name in inside - set(queries)}) == 1
    )  # the last one is left
    maps = factors.maps(model, 1)
    assert set(maps) <= set(names) and f"{model.arch.value.format(3)}.weight" in maps
    assert sum(names[name].numel() for name in maps) >= 2 * model.width * model.key_width(3)


@pytest.mark.parametrize("kind", toy.ARCHITECTURES)
def test_noise_is_measured_where_it_is_added(kind):
    """3 standard deviations of what the embedding returns for the subjects, without any start token; as wide as
    that.
    """
    model, seen = loaded(kind), []
    subjects = [subject for _, subject in PROMPTS]
    handle = model.module("embed").register_forward_hook(lambda _m, _i, output: seen.append(output[0].double()))
    for subject in subjects:
        with torch.no_grad():
            model.model(input_ids=torch.tensor([model.tokenizer(subject, add_special_tokens=False)["input_ids"]]))
    handle.remove()
    found, _ = noise.measure(model, "s3", subjects, None, noise.Config(), 0)
    assert found["sigma"] == pytest.approx(3 * torch.cat(seen).std().item(), rel=1e-6)
    assert model.embed_width == seen[0].shape[1]
    effects, prompts = causal_trace.trace(
        model, table_of(model), noise.load(found, {}), replace(CONFIG, samples=2), 2, 0
    )
    assert len(effects) == sum(map(len, prompts["tokens"])) * model.layers * len(CONFIG.sites)
    for row in prompts.itertuples():
        assert "".join(row.tokens[row.subject_begin : row.subject_end]).strip() == row.subject.strip()


def aids_of(model, layer):
    counted = covariance.second_moments(model, [layer], LONG, 40, 400)
    draw = torch.randn(model.width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Aids(contexts=CONTEXTS, moments={layer: replace(counted[layer], ridge=0.01)}, targets={FACT.case_id: draw})


def outputs_of(model, layer):
    """Of the bare prompt in a plain forward, at the last subject token: key, MLP output and block output."""
    text = FACT.prompt.replace("{}", FACT.subject)
    upto = FACT.prompt.index("{}") + len(FACT.subject)
    at = len(model.tokenizer(text[:upto])["input_ids"]) - 1  # the subject ends where the text up to it does
    modules = {"mlp": model.module("mlp", layer), "block": model.module("block", layer)}
    with captured(modules) as out, captured({"key": model.module("value", layer)}, "input") as keys, torch.no_grad():
        model.model(input_ids=ids_of(model, text))
    return keys["key"][0, at], out["mlp"][0, at], out["block"][0, at]


@pytest.mark.parametrize("kind", toy.ARCHITECTURES)
def test_rome_stores_the_value_under_the_key(kind):
    """W' k* = v*, rank one: read in a forward of the changed model."""
    model = loaded(kind, torch.float64)
    aids, (key, old, _) = aids_of(model, 1), outputs_of(model, 1)
    delta = rome.edit(model, [FACT], objective.Settings(layer=1), aids)
    wanted = aids.targets[FACT.case_id]
    with applied(model, delta):
        same, now, _ = outputs_of(model, 1)
    assert (old - wanted).norm() > 1 and torch.equal(same, key)
    assert torch.allclose(now, wanted, atol=1e-9) and torch.linalg.matrix_rank(delta.dense(1)) == 1


@pytest.mark.parametrize("kind", toy.ARCHITECTURES)
def test_memit_of_one_fact_in_one_layer_meets_its_target(kind):
    """Lambda to 0: the block's output, or that of an MLP with a norm behind it, becomes the target."""
    model, site = loaded(kind, torch.float64), "mlp" if kind in BEHIND else "hidden"
    aids = replace(aids_of(model, 1), contexts=("{}",))
    settings = memit.Settings(layer=1, layers=(1,), covariance_weight=1e-10, site=site)
    with applied(model, memit.edit(model, [FACT], settings, aids)):
        _, mlp, block = outputs_of(model, 1)
    now = block if site == "hidden" else mlp
    assert torch.allclose(now, aids.targets[FACT.case_id], atol=1e-6)
    if site == "mlp":
        with pytest.raises(ValueError, match=f"toy-{kind} norms what its MLPs return.*right is `site: mlp`"):
            memit.edit(model, [FACT], replace(settings, site="hidden"), aids)


def test_opt_is_transformers_opt():
    for kind in ("opt", "opt_350m"):
        model, plain = loaded(kind), AutoModelForCausalLM.from_pretrained(toy._folder(kind).name)
        ids = torch.cat([ids_of(model), ids_of(model).flip(1)])
        with torch.no_grad():
            assert torch.equal(model.model(ids).logits, plain(ids).logits)
        assert model.model.state_dict().keys() == plain.state_dict().keys()
        with pytest.raises(
            ValueError, match=r"modeling_opt.OPTForCausalLM; right is the one in engram.model.loading.CLASSES"
        ):
            loading.wrap("x", plain, model.tokenizer)


@pytest.mark.parametrize("kind", ["mistral", "gemma2", "gemma3_text"])
def test_a_text_that_attention_does_not_look_back_on_is_refused(kind):
    model = loaded(kind)
    assert block_parts.longest_text(model) == toy.WINDOW
    with pytest.raises(
        ValueError, match=f"a prompt of 49 tokens, but some of its layers look back {toy.WINDOW} tokens at most"
    ):
        adapters.Adapter(model, toy.WINDOW + 1)
    adapters.Adapter(model, toy.WINDOW)


def test_positions_that_are_turned_by_length(tmp_path):
    """Phi 3's rotations change for all of a text that is longer than the original ones."""
    made = toy.lm("phi3").model.config.to_dict() | {
        "original_max_position_embeddings": 32,
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 1.0,
            "original_max_position_embeddings": 32,
            "short_factor": [1.0, 1.5, 2.0, 2.5],
            "long_factor": [4.0] * 4,
        },
    }
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**made))
    model.save_pretrained(tmp_path)
    toy.tokenizer("phi3").save_pretrained(tmp_path)
    lm = loading.load("long", tmp_path)
    ids = torch.randint(3, 200, (2, 32), generator=torch.Generator().manual_seed(0))
    adapter = adapters.Adapter(lm, 32)
    with torch.no_grad():
        x = adapter.enter(adapter.embed(ids))
        for layer in range(lm.layers):
            attended = adapter.add(layer, "attn", x, adapter.attention(layer, *adapter.heads(layer, x, 0)))
            x = adapter.add(layer, "mlp", attended, adapter.mlp(layer, x, attended))
        assert torch.allclose(lm.logits(lm.final(x)), lm.model(ids).logits, atol=1e-5)
    causal_trace.trace(lm, table_of(lm), NOISE, replace(CONFIG, samples=2), 2, 0)
    with pytest.raises(ValueError, match=r"a prompt of 33 tokens.* turn positions differently from there on"):
        adapters.Adapter(lm, 33)


def job_of(place, **more):
    block = {"name": "x", "hub": str(place), "revision": "main"} | more
    return SimpleNamespace(config={"model": block}, inputs=SimpleNamespace(weights=None))


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


def test_spreading_over_gpus_needs_accelerate_and_gpus(monkeypatch):
    job = job_of(toy._folder("llama").name, devices="auto")
    monkeypatch.setattr(placement, "is_accelerate_available", lambda: False)
    with pytest.raises(
        ImportError, match=r"model x: `devices: auto` needs the package accelerate.*pip install accelerate"
    ):
        loading.open_lm(job, "cuda")
    monkeypatch.setattr(placement, "is_accelerate_available", lambda: True)
    with pytest.raises(ValueError, match="spreads it over GPUs, not over a cpu"):
        loading.open_lm(job, "cpu")
    assert placement.spread_options("x", "cuda") == {"device_map": "auto"}


@pytest.mark.parametrize("kind", ["gpt2", "gptj", "llama", "gemma2", "opt"])
def test_modules_that_call_there_and_back_change_nothing(kind):
    """As in a model on several devices, where one is all there is: not a bit of a trace, a value, a score, a text or an
    edit differs, copies of the model stay apart, and its weights can be exchanged.
    """
    found = []
    for away in (False, True):
        model = loaded(kind)
        for module in model.model.modules() if away else ():
            if module._parameters and model.module("embed") is not module:
                placement.call_from(module, torch.device("cpu"))
        placement.keep_states_home(model.model)
        effects, _ = causal_trace.trace(
            model, table_of(model), NOISE, replace(CONFIG, samples=2, precision="bfloat16"), 2, 0
        )
        value = targets.optimise(model, [FACT], list(CONTEXTS), targets.Settings(layer=1, steps=3, rate=0.1)).value
        tuned = batched_finetune.tune_each(
            model, [FACT], finetune.value_names(model, 1)[:1], finetune.Settings(layer=1, steps=2)
        )
        again = finetune.tune(model, [FACT], finetune.value_names(model, 1)[:1], finetune.Settings(layer=1, steps=2))
        tables = outcomes.outcomes(
            model, RECORDS, [deltas(model)[0], tuned[0], again], "counterfact", config(), ("key",)
        )
        with applied(batches.twin(model), again):
            assert torch.equal(model.value_weight(1), loaded(kind).value_weight(1))
        found.append((effects, tables["scores"], tables["texts"], tables["norms"], value))
    assert all(one.equals(other) for one, other in zip(found[0][:4], found[1][:4])) and torch.equal(
        found[0][4], found[1][4]
    )


def test_an_architecture_without_a_row_is_told_what_to_add(tmp_path):
    AutoConfig.for_model("bloom").save_pretrained(tmp_path)
    with pytest.raises(ValueError) as error:  # before tokenizer or weights are looked for: there are none
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
        with pytest.raises(ValueError):
            loading.load("x", tmp_path)
    assert not marker.exists()
