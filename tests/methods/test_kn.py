"""KN: the published edit of the value rows, facts in turn, and what the edit promises."""

import pytest
import torch

from crossed import crossed
from engram.editing import knowledge_neurons
from engram.editing.facts import Fact
from engram.methods import kn
from engram.model import tokens
from engram.model.delta import applied
from neuron_scores import AIDS, CONTEXTS, FACTS, GATED, oracle
from toy import ARCHITECTURES, CLASSICS, PROMPTS, lm, loaded


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


@pytest.mark.parametrize(
    ("kind", "truth"), crossed(["own", "fact"], [kind for kind in ARCHITECTURES if kind != "opt_350m"])
)
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
    answer = knowledge_neurons.read(model, fact.prompt.replace("{}", fact.subject)).predicted
    selections = []
    for context in CONTEXTS:
        text = context.replace("{}", fact.prompt).replace("{}", fact.subject)
        selections.append(
            set(
                knowledge_neurons.above_threshold(
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
