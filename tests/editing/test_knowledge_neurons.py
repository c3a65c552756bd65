"""Knowledge neurons: scores against a plain loop of hooked forwards, the selection, and what the edit promises."""

from types import SimpleNamespace

import pytest
import torch

from engram.editing import knowledge_neurons
from engram.editing.facts import Fact
from engram.methods import kn
from engram.model import tokens
from engram.model.delta import applied
from toy import ARCHITECTURES, CLASSICS, PROMPTS, lm, loaded

GATED = {"llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "phi3"}
CONTEXTS = ("{}", "Zürich is. {}", "He plays the. {}")
AIDS = SimpleNamespace(contexts=CONTEXTS, moments=None, targets=None, seed=0)
FACTS = [
    Fact(i, subject, prompt.replace(subject, "{}"), target, "Apple")
    for i, ((prompt, subject), target) in enumerate(zip(PROMPTS, ("French", "Rome in Switzerland", "chess")))
]


def hooked_forward(model, ids, layer, change):
    """p(next token) [V] of a full forward in which change(activations [D]) replaces those of `layer` at the last
    token.
    """

    def before(_module, inputs):
        x = inputs[0].clone()
        flat = x.flatten(0, -2)
        flat[-1] = change(flat[-1])
        return (flat.view(x.shape),)

    handle = model.module("value", layer).register_forward_pre_hook(before)
    try:
        return model.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].double().softmax(-1)
    finally:
        handle.remove()


def oracle(model, ids, answers, points):
    """Scores and activations [L, D]: one layer, one point and one answer token at a time."""
    found = torch.zeros(model.layers, model.key_width(0), dtype=torch.float64)
    activations = []
    for layer in range(model.layers):
        seen = []
        with torch.no_grad():
            hooked_forward(model, ids, layer, lambda x: seen.append(x.clone()) or x)
        activations += seen
        for step in range(points):
            for answer in answers:
                leaf = (seen[0] * step / (points - 1)).requires_grad_()
                hooked_forward(model, ids, layer, lambda _x: leaf)[answer].backward()
                found[layer] += leaf.grad * seen[0] / points / len(answers)
    return found, activations


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
    found = knowledge_neurons.scores(prompt, [prompt.answer], 3)
    for layer, neuron in ((0, 5), (1, 77), (3, 120), (2, int(found[2].argmax()))):
        total = 0.0
        for share in (0.0, 0.5, 1.0):

            def moved(by):
                def change(x):
                    x = share * x
                    x[neuron] += by
                    return x

                with torch.no_grad():
                    return hooked_forward(model, ids, layer, change)[prompt.answer]

            total += (moved(step) - moved(-step)).item() / (2 * step)
        assert found[layer, neuron].item() == pytest.approx(
            total / 3 * prompt.activations[layer][neuron].item(), abs=1e-9
        )


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox"])
def test_the_scores_of_a_layer_add_up_to_what_it_does_for_the_answer(kind):
    """Completeness of integrated gradients: the sum over neurons tends to p(answer) with the layer minus p without."""
    model, (text, _) = lm(kind, torch.float64), PROMPTS[0]
    ids, prompt = tokens.encode(model.tokenizer, text), knowledge_neurons.read(model, text)
    sums = knowledge_neurons.scores(prompt, [prompt.answer], 4001, batch=500).sum(1)
    for layer in range(model.layers):
        with torch.no_grad():
            there, away = (
                hooked_forward(model, ids, layer, lambda x: share * x)[prompt.answer] for share in (1.0, 0.0)
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
    assert knowledge_neurons.coarse(scores, 0.2) == [(0, 1), (1, 1)], "strictly more than the share of the highest"
    assert knowledge_neurons.coarse(-scores.abs(), 0.2) == []
    assert knowledge_neurons.shared([[(0, 1), (1, 1)], [(1, 1)], [(2, 0)], [], []], 0.2) == [(1, 1)], (
        "strictly more than the share"
    )
    assert knowledge_neurons.shared([[(0, 1), (1, 1)], [(1, 1)], [(2, 0)]], 0.2) == [(0, 1), (1, 1), (2, 0)]


def rows_changed(kind, model, fact, settings):
    """What the edit of one fact adds to the value rows, spelled out: {layer: change [d, D]}."""
    tok, embedding = model.tokenizer, model.model.get_output_embeddings().weight
    prompt = fact.prompt.replace("{}", fact.subject)
    ids = tok(prompt)["input_ids"]
    own = int(model.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
    truth = [own] if settings.truth == "own" else tokens.encode(tok, fact.true)
    scores, activations = oracle(model, ids, truth, settings.points)
    changes, gated = {}, kind in GATED
    for layer in range(model.layers):
        for neuron in range(scores.shape[1]):
            if scores[layer, neuron] > settings.adaptive_threshold * scores.max():
                change = changes.setdefault(layer, torch.zeros(model.width, scores.shape[1], dtype=torch.float64))
                sign = -1 if gated and activations[layer][neuron] < 0 else 1
                change[:, neuron] -= sign * settings.erase * embedding[own]
                for token in tokens.encode(tok, fact.target):
                    change[:, neuron] += sign * settings.write * embedding[token]
    return changes


@pytest.mark.parametrize("truth", kn.TRUTHS)
@pytest.mark.parametrize("kind", [kind for kind in ARCHITECTURES if kind != "opt_350m"])
def test_the_edit_is_the_published_one(kind, truth):
    model, s = loaded(kind, torch.float64), kn.Settings(points=5, truth=truth)
    for fact in FACTS[:2]:
        delta, wanted = kn.edit(model, [fact], s, AIDS), rows_changed(kind, model, fact, s)
        assert set(delta.parts) == set(wanted) and wanted, "some neurons should be selected"
        for layer, change in wanted.items():
            assert torch.allclose(delta.dense(layer), change, atol=1e-12)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_facts_are_edited_in_turn_and_the_model_stays_as_it_was(kind):
    model, s = lm(kind), kn.Settings(points=5)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    together, again = kn.edit(model, FACTS, s, AIDS), kn.edit(model, FACTS, s, AIDS)
    assert all(torch.equal(together.dense(layer), again.dense(layer)) for layer in together.parts)
    total = {layer: torch.zeros(model.width, model.key_width(layer)) for layer in range(model.layers)}
    for number, fact in enumerate(FACTS):
        with applied(model, kn.edit(model, FACTS[:number], s, AIDS)):
            one = kn.edit(model, [fact], s, AIDS)
        for layer in one.parts:
            total[layer] += one.dense(layer)
    for layer, change in total.items():
        found = together.dense(layer) if layer in together.parts else torch.zeros_like(change)
        assert torch.allclose(found, change, atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in model.model.state_dict().items())


LETTERS = "KQZ"  # one token each


def taught(kind):
    """A toy that was trained until it answers every prompt of PROMPTS with its letter."""
    model, rows = lm(kind), range(len(PROMPTS))
    ids, lengths = tokens.pad([tokens.encode(model.tokenizer, text) for text, _ in PROMPTS])
    goal = torch.tensor([tokens.encode(model.tokenizer, letter)[0] for letter in LETTERS])
    optimiser = torch.optim.Adam(model.model.requires_grad_().parameters(), lr=1e-3)
    for _ in range(100):
        loss = torch.nn.functional.cross_entropy(model.model(input_ids=ids).logits[rows, lengths - 1], goal)
        if loss < 0.05:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.model.requires_grad_(False)
    return model


@pytest.mark.parametrize("kind", CLASSICS)
def test_the_target_becomes_likelier_and_the_answer_less_likely(kind):
    model = taught(kind)
    for index, (text, subject) in enumerate(PROMPTS):
        target, (own,) = LETTERS[index - 1], tokens.encode(model.tokenizer, LETTERS[index])
        (wanted,) = tokens.encode(model.tokenizer, target)
        ids = torch.tensor([tokens.encode(model.tokenizer, text)])
        delta = kn.edit(model, [Fact(0, subject, text.replace(subject, "{}"), target)], kn.Settings(), AIDS)
        with torch.no_grad():
            before = model.model(input_ids=ids).logits[0, -1].softmax(-1)
            with applied(model, delta):
                after = model.model(input_ids=ids).logits[0, -1].softmax(-1)
        assert before.argmax() == own and before[own] > 0.9 and after[own] < 0.1 and after[wanted] > before[wanted]


def test_refined_neurons_are_those_of_many_contexts():
    model, fact = lm("gpt2"), FACTS[1]
    s = kn.Settings(points=5, adaptive_threshold=0.05)
    answer = knowledge_neurons.read(model, fact.prompt.replace("{}", fact.subject)).answer
    selections = []
    for context in CONTEXTS:
        text = context.replace("{}", fact.prompt).replace("{}", fact.subject)
        selections.append(
            set(
                knowledge_neurons.coarse(
                    knowledge_neurons.scores(knowledge_neurons.read(model, text), [answer], 5), 0.05
                )
            )
        )

    def selected(delta):
        return {
            (layer, neuron)
            for layer, (_, rows) in delta.parts.items()
            for neuron in rows[:, 0].nonzero()[:, 0].tolist()
        }

    everywhere = set.intersection(*selections)
    assert selected(kn.edit(model, [fact], s, AIDS)) == selections[0] != everywhere
    refined = kn.Settings(points=5, adaptive_threshold=0.05, refine=True, share=0.9)
    assert selected(kn.edit(model, [fact], refined, AIDS)) == everywhere != set()


def test_what_cannot_be_done_is_said():
    model, fact = lm("gpt2"), Fact(7, "Beats Music", "{} is owned by", "chess")
    with pytest.raises(ValueError, match=r"record 7.*truth: own"):
        kn.edit(model, [fact], kn.Settings(truth="fact"), AIDS)
    for more in ({"truth": "both"}, {"adaptive_threshold": 1.0}, {"points": 1}, {"batch": 0}):
        with pytest.raises(ValueError, match=next(iter(more))):
            kn.Settings(**more)


def test_a_head_of_another_width_than_the_values_is_refused():
    with pytest.raises(ValueError, match="toy-opt_350m: its head reads vectors of width 16, its MLPs write 32"):
        kn.edit(lm("opt_350m"), FACTS[:1], kn.Settings(points=3), AIDS)
