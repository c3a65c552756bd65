"""Knowledge neurons: scores against a plain loop of hooked forwards, the selection, and what the edit promises."""

import pytest
import torch

from engram.editing import knowledge_neurons
from engram.model import tokens
from neuron_scores import hooked_forward, oracle
from toy import ARCHITECTURES, PROMPTS, lm, loaded


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_scores_are_those_of_the_plain_loop(kind):
    model = loaded(kind, torch.float64)
    for (text, _), answers in zip(PROMPTS[:2], ([17], [3, 200, 99])):
        ids = model.tokenizer(text)["input_ids"]
        found, wanted = (
            knowledge_neurons.scores(knowledge_neurons.read(model, text), answers, 7),
            oracle(model, ids, answers, 7)[0],
        )
        # GPT-J's attention and root-mean-square norms compute in float32 whatever the weights are
        exact = kind in ("gpt2", "gpt_neox", "gpt_neox_sequential", "phi", "opt", "opt_350m")
        assert (found - wanted).abs().max() < (1e-9 if exact else 1e-4) * wanted.abs().max()


def test_a_score_is_the_slope_of_one_neuron_found_by_moving_it():
    """One neuron at a time, without autograd: central differences of p at every point, over a sample of neurons."""
    model, (text, _) = lm("gpt2", torch.float64), PROMPTS[1]
    ids, step = tokens.encode(model.tokenizer, text), 1e-5
    prompt = knowledge_neurons.read(model, text)
    found = knowledge_neurons.scores(prompt, [prompt.predicted], 3)
    for layer, neuron in ((0, 5), (1, 77), (3, 120), (2, int(found[2].argmax()))):
        total = 0.0
        for share in (0.0, 0.5, 1.0):

            def moved(by):
                def change(x):
                    x = share * x
                    x[neuron] += by
                    return x

                with torch.no_grad():
                    return hooked_forward(model, ids, layer, change)[prompt.predicted]

            total += (moved(step) - moved(-step)).item() / (2 * step)
        assert found[layer, neuron].item() == pytest.approx(
            total / 3 * prompt.activations[layer][neuron].item(), abs=1e-9
        )


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox"])
def test_the_scores_of_a_layer_add_up_to_what_it_does_for_the_answer(kind):
    """Completeness of integrated gradients: the sum over neurons tends to p(answer) with the layer minus p without."""
    model, (text, _) = lm(kind, torch.float64), PROMPTS[0]
    ids, prompt = tokens.encode(model.tokenizer, text), knowledge_neurons.read(model, text)
    sums = knowledge_neurons.scores(prompt, [prompt.predicted], 4001, batch=500).sum(1)
    for layer in range(model.layers):
        with torch.no_grad():
            there, away = (
                hooked_forward(model, ids, layer, lambda x: share * x)[prompt.predicted] for share in (1.0, 0.0)
            )
        assert sums[layer].item() == pytest.approx((there - away).item(), abs=2e-3)


def test_scores_do_not_depend_on_how_many_points_go_together():
    model, (text, _) = lm("llama", torch.float64), PROMPTS[2]
    prompt = knowledge_neurons.read(model, text)
    whole = knowledge_neurons.scores(prompt, [5], 20)
    for batch in (1, 7):
        assert torch.allclose(
            knowledge_neurons.scores(prompt, [5], 20, batch), whole, rtol=0, atol=1e-7 * whole.abs().max().item()
        )


def test_a_prompt_of_one_token_has_scores():
    model = lm("gpt2", torch.float64)
    assert len(tokens.encode(model.tokenizer, "B")) == 1
    found = knowledge_neurons.scores(knowledge_neurons.read(model, "B"), [5], 4)
    assert torch.allclose(found, oracle(model, tokens.encode(model.tokenizer, "B"), [5], 4)[0], atol=1e-12)


def test_selection():
    scores = torch.tensor([[0.1, 1.0, -2.0], [0.2, 0.21, 0.0]])
    assert knowledge_neurons.above_threshold(scores, 0.2) == [(0, 1), (1, 1)], (
        "strictly more than the share of the highest"
    )
    assert knowledge_neurons.above_threshold(-scores.abs(), 0.2) == []
    assert knowledge_neurons.shared([[(0, 1), (1, 1)], [(1, 1)], [(2, 0)], [], []], 0.2) == [(1, 1)], (
        "strictly more than the share"
    )
    assert knowledge_neurons.shared([[(0, 1), (1, 1)], [(1, 1)], [(2, 0)]], 0.2) == [(0, 1), (1, 1), (2, 0)]
