"""Every architecture, by way of files as a published model comes: what its row promises, and the theorems that hold on
it.

Traces, second moments, optimised values, scores and texts of all architectures: test_tracing, test_covariance,
test_targets, test_outcomes.
"""

from dataclasses import replace

import pytest
import torch

import toy
from engram.editing.trained_editors import factors
from engram.editing.tuning import finetune
from engram.methods import memit, rome
from engram.model import block_parts
from engram.model.architectures import ARCHITECTURES
from engram.model.delta import applied
from engram.model.hooks import captured, resumed
from engram.settings import objective
from engram.tracing import causal_trace, noise
from probed_models import FACT, aids_of, ids_of, outputs_of
from toy import PROMPTS, loaded
from traced_prompts import CONFIG, table_of
from tracing_oracle import first

BEHIND = ("gemma2", "gemma3_text", "opt_350m")  # a norm stands between an MLP and its block's output


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
