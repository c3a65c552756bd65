"""Integrated gradients: the sum over tokens, a plain loop with hooks and numerical slopes, and which prompts are
taken.
"""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from crossed import crossed
from engram.model import tokens
from engram.model.adapters import Adapter
from engram.tracing import causal_trace, integrated_gradients, noise
from toy import PROMPTS, lm

TRACE = causal_trace.Config(prompts=9, samples=4, sites=("hidden",))
NOISE = noise.Noise("normal", 0.5)
ANSWER = 17


def lines_of(model, at=1, samples=2):
    """The Lines of a prompt, and the corrupted and clean token embeddings [1 + S, T, d]."""
    text, subject = PROMPTS[at]
    row = SimpleNamespace(prompt_id=at, prompt=text, subject=subject, answer=" x", answer_id=ANSWER)
    config = causal_trace.Config(prompts=9, samples=samples, sites=("hidden",))
    prompt = causal_trace.prepare(model, row, config)
    embeddings = causal_trace.corrupted(Adapter(model, len(prompt.ids)), prompt, NOISE, config, 0)
    return integrated_gradients.Lines(model, prompt.ids, ANSWER, embeddings), embeddings, list(prompt.ids)


def module_of(model, site, layer):
    return model.module({"hidden": "block", "mlp": "mlp", "attn": "attn"}[site], layer)


def outputs(model, embeddings, site, layer):
    """Outputs [R, T, d] of one module for token embeddings [R, T, d], by an ordinary forward."""
    kept = []

    def keep(_module, _inputs, output):
        kept.append(output[0] if isinstance(output, tuple) else output)

    handle = module_of(model, site, layer).register_forward_hook(keep)
    with torch.no_grad():
        model.model(inputs_embeds=embeddings, use_cache=False)
    handle.remove()
    return kept[0]


def probability(model, ids, site, layer, value):
    """p(ANSWER) of a full forward of the clean prompt in which one module's output is `value` [T, d]."""

    def change(_module, _inputs, output):
        return (value[None], *output[1:]) if isinstance(output, tuple) else value[None]

    handle = module_of(model, site, layer).register_forward_hook(change)
    try:
        return model.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].double().softmax(-1)[ANSWER]
    finally:
        handle.remove()


@pytest.mark.parametrize(("kind", "site"), crossed(integrated_gradients.MODULES))
def test_attributions_are_those_of_a_plain_loop(kind, site):
    """One sample, one point at a time, the whole model, torch's own gradient; the quadrature's points from their
    definition.
    """
    model = lm(kind, torch.float64)
    lines, embeddings, ids = lines_of(model)
    places, weights = np.polynomial.legendre.leggauss(4)
    assert np.polynomial.legendre.legval(places, [0, 0, 0, 0, 1]) == pytest.approx(0, abs=1e-12)
    for layer in (0, model.layers - 1):
        found, begins = lines.integral(site, layer, 4, 3)
        states = outputs(model, embeddings, site, layer)
        for sample, begin in enumerate(states[1:]):
            total = torch.zeros(len(ids), dtype=torch.float64)
            for place, weight in zip((places + 1) / 2, weights / 2):
                leaf = (begin + place * (states[0] - begin)).detach().requires_grad_()
                probability(model, ids, site, layer, leaf).backward()
                total += weight * (leaf.grad * (states[0] - begin)).sum(-1)
            # GPT-J's attention and Llama's norms compute in float32 whatever the weights are
            near = 1e-4 if kind in ("gptj", "llama", "gemma2") else 1e-9
            assert (found[sample] - total).abs().max() < near * total.abs().max() + 1e-12
            with torch.no_grad():
                assert begins[sample].item() == pytest.approx(
                    probability(model, ids, site, layer, begin).item(), rel=near
                )


@pytest.mark.parametrize("site", integrated_gradients.MODULES)
def test_the_tokens_of_a_layer_sum_to_what_it_changes(site):
    model = lm("gpt2", torch.float64)
    lines, _, _ = lines_of(model, samples=3)
    errors = {}
    for points in (2, 8, 60):
        found, begins = lines.integral(site, 1, points, 64)
        errors[points] = (found.sum(1) - (lines.clean - begins)).abs().max().item()
    assert errors[60] < 1e-9 * abs(lines.clean) + 1e-10 and errors[60] < errors[2], errors


def test_a_line_of_hidden_states_begins_at_the_corrupted_run():
    """Nothing goes around a hidden state, so f(0) is the corrupted probability at every layer; tokens before the
    subject are the same in both runs and account for nothing.
    """
    model = lm("gpt2", torch.float64)
    lines, embeddings, _ = lines_of(model, at=2)
    with torch.no_grad():
        logits = model.model(inputs_embeds=embeddings, use_cache=False).logits[:, -1].double()
    wanted = logits.softmax(-1)[:, ANSWER]
    assert lines.clean == pytest.approx(wanted[0].item(), rel=1e-12)
    begin, _ = tokens.subject_range(model.tokenizer, *PROMPTS[2])
    assert begin > 0
    for layer in range(model.layers):
        found, begins = lines.integral("hidden", layer, 3, 64)
        assert begins.tolist() == pytest.approx(wanted[1:].tolist(), rel=1e-9)
        assert found[:, :begin].abs().max() == 0
        assert (found[:, begin].abs() > 0).all() == (layer < model.layers - 1), "nothing reads it after the last layer"
    assert lines.corrupted == pytest.approx(wanted[1:].mean().item(), rel=1e-12)


@pytest.fixture
def tables():
    """The tables of stages `known` and `trace` for the toy prompts: total effects 0.1, 0.2, 0.3."""
    known = pd.DataFrame(
        [
            {
                "prompt_id": 7 + i,
                "prompt": text,
                "subject": subject,
                "answer": " x",
                "answer_id": ANSWER,
                "correct": True,
            }
            for i, (text, subject) in enumerate(PROMPTS[:3])
        ]
    )
    traced = known[["prompt_id", "prompt", "subject", "answer"]].assign(
        model="toy",
        variant="main",
        tokens=[["a"] * 9] * 3,
        subject_begin=0,
        subject_end=3,
        clean=[0.3, 0.4, 0.5],
        corrupted=0.2,
    )
    return known, traced


def test_the_tables_hold_the_chosen_prompts(tables):
    model = lm("gpt2")
    config = integrated_gradients.Config(points=3, samples=2, count=1)
    found, about = integrated_gradients.attributed(model, *tables, NOISE, config, TRACE, 0)
    assert about["prompt_id"].tolist() == [8] and set(found["prompt_id"]) == {8}, "the middle one, as in Fig. 10"
    assert "variant" not in about and about["subject"].iloc[0] == PROMPTS[1][1]
    length = len(tokens.encode(model.tokenizer, PROMPTS[1][0]))
    assert len(found) == 3 * model.layers * length and not found.duplicated(["site", "layer", "token"]).any()
    hidden = found[found["site"] == "hidden"].groupby("layer")["baseline"].first()
    assert hidden.tolist() == pytest.approx([about["corrupted"].iloc[0]] * model.layers, rel=1e-5)
    again, _ = integrated_gradients.attributed(model, tables[0][::-1], tables[1], NOISE, config, TRACE, 0)
    pd.testing.assert_frame_equal(again, found)
    named = integrated_gradients.Config(points=3, samples=2, prompts={model.name: (9, 7)})
    assert integrated_gradients.attributed(model, *tables, NOISE, named, TRACE, 0)[1]["prompt_id"].tolist() == [9, 7]


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match=r"points\n.*greater than or equal to 1"):
        integrated_gradients.Config(points=0, samples=2)


def test_the_model_is_left_as_it_was():
    model = lm("gptj")
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    lines, _, _ = lines_of(model)
    lines.integral("attn", 1, 2, 64)
    assert all(torch.equal(value, before[name]) for name, value in model.model.state_dict().items())
    assert not any(module._forward_hooks or "forward" in module.__dict__ for module in model.model.modules())
