"""Log-probabilities and generated texts of edited models: batched against one prompt at a time with really changed weights."""

import pandas as pd
import pytest
import torch

from engram import generation, known, outcomes, scoring, seeds, tokens
from engram.delta import NOTHING, Delta, applied
from toy import PROMPTS, lm

RECORDS = pd.DataFrame([{
    "case_id": 10 + i, "relation_id": "P1", "subject": subject, "prompt": prompt.replace(subject, "{}"),
    "target_new": new, "target_true": true, "paraphrase_prompts": [f"Zürich. {prompt}"] * 2,
    "neighborhood_prompts": ["Thomas plays the", "What does he do ? He"], "attribute_prompts": ["Apple"],
    "generation_prompts": [prompt, subject, subject]}
    for i, ((prompt, subject), new, true) in enumerate(zip(PROMPTS, ("chess", "Rome in Switzerland", "Apple"),
                                                           ("CBS", "Apple", "French")))])


def deltas(model, count):
    generator = torch.Generator().manual_seed(0)

    def part(width):
        return torch.randn(width, 1, generator=generator).to(next(model.model.parameters())) * 0.3
    return [Delta({2: (part(model.width), part(model.key_width(2)))}) for _ in range(count)]


@pytest.mark.parametrize("kind", ("gpt2", "gptj", "gpt_neox", "llama"))
@pytest.mark.parametrize("batch", (1, 7, 64))
def test_scores_equal_one_prompt_at_a_time(kind, batch):
    model = lm(kind, torch.float64)
    changes = deltas(model, len(RECORDS))
    table = outcomes.scores(model, RECORDS, changes, batch)
    assert len(table) == 3 * 6 * 2
    for index, record in enumerate(RECORDS.itertuples()):
        prompts = {"rewrite": [record.prompt.replace("{}", record.subject)], "paraphrase": record.paraphrase_prompts,
                   "neighborhood": record.neighborhood_prompts, "attribute": record.attribute_prompts}
        for row in table[table["case_id"] == record.case_id].itertuples():
            prompt = prompts[row.kind][row.prompt_index]
            target = tokens.encode(model.tokenizer, " " + getattr(record, f"target_{row.target}"))
            ids = tokens.encode(model.tokenizer, prompt)
            with applied(model, changes[index]), torch.no_grad():
                logs = model.model(input_ids=torch.tensor([ids + target])).logits[0].log_softmax(-1)
            own = [-float(logs[len(ids) + j - 1, token]) for j, token in enumerate(target)]
            assert row.nll == pytest.approx(sum(own) / len(own), rel=1e-5 if kind == "gptj" else 1e-9)
            assert row.correct == all(int(logs[len(ids) + j - 1].argmax()) == t for j, t in enumerate(target))


def slow_sample(model, prompt, key, length, top_k):
    ids, draws = tokens.encode(model.tokenizer, prompt), seeds.rng(*key).random(length)
    while len(ids) < length:
        with torch.no_grad():
            logits = model.model(input_ids=torch.tensor([ids])).logits[0, -1].double()
        best = sorted(range(len(logits)), key=lambda token: -float(logits[token]))[:top_k]
        weights = torch.tensor([float(logits[token]) for token in best]).double().softmax(0).tolist()
        total, pick = 0.0, best[-1]
        for token, weight in zip(best, weights):
            total += weight
            if draws[len(ids)] < total:
                pick = token
                break
        ids.append(pick)
    return generation.tidy(model.tokenizer.decode(ids))


@pytest.mark.parametrize("kind", ("gpt2", "gptj", "gpt_neox", "llama"))
def test_texts_equal_sampling_one_prompt_at_a_time_without_cache(kind):
    model = lm(kind, torch.float64)
    changes = deltas(model, len(RECORDS))
    table = outcomes.texts(model, RECORDS, changes, 24, 3, ("key",), batch=4)
    assert len(table) == 9
    for row in table.itertuples():
        index = row.case_id - 10
        assert row.prompt == RECORDS["generation_prompts"][index][row.prompt_index]
        with applied(model, changes[index]):
            assert row.text == slow_sample(model, row.prompt, ("key", row.case_id, row.prompt_index), 24, 3)


def test_a_text_does_not_depend_on_its_batch():
    model, prompts = lm("gpt2"), ["Rome", "Beats Music", "Thomas James", "The Big Bang Theory"]
    keys = [("k", i) for i in range(4)]
    assert (generation.generate(model, prompts, keys, 20, 5, rows=4)
            == generation.generate(model, prompts[::-1], keys[::-1], 20, 5, rows=1)[::-1])


def test_draws_follow_the_top_k_distribution():
    logits = torch.tensor([[0.0, 2.0, 1.0, -1.0]])
    uniform = torch.linspace(0, 1, 30001)[:-1] + 1 / 60000
    picks = generation._draw(logits.expand(len(uniform), -1), uniform, 2).squeeze(1)
    share = torch.bincount(picks, minlength=4).double() / len(uniform)
    wanted = torch.tensor([2.0, 1.0]).double().softmax(0)
    assert torch.allclose(share[[1, 2]], wanted, atol=1e-3) and share[0] == share[3] == 0


def test_norms_are_those_of_the_dense_change():
    model = lm("gpt2")
    changes = deltas(model, 3)
    table = outcomes.norms(model, RECORDS, changes)
    assert table["delta_norm"].tolist() == pytest.approx([float(d.dense(2).norm()) for d in changes], rel=1e-5)
    assert outcomes.norms(model, RECORDS, [NOTHING] * 3).empty


def test_known_needs_every_token_of_the_object():
    model = lm("gpt2")
    prompts = ["Beats Music is owned by", "Thomas James Martin plays the"]
    ids = [tokens.encode(model.tokenizer, prompt) for prompt in prompts]
    (first, p), _ = scoring.predict(model, ids)
    logits = model.model(input_ids=torch.tensor([ids[0]])).logits[0, -1].softmax(-1)
    assert first == int(logits.argmax()) and p == pytest.approx(float(logits.max()), rel=1e-5)
    table = pd.DataFrame({"prompt_id": [0, 1], "relation_id": "P1", "prompt": prompts, "subject": ["Beats Music", "Thomas"],
                          "attribute": [model.tokenizer.decode([first]).strip() or "x", "chess"]})
    result = known.prompts(model, table)
    assert result["answer_id"].tolist() == [token for token, _ in scoring.predict(model, ids)]
    target = tokens.encode(model.tokenizer, " " + table["attribute"][0])
    assert result["correct"][0] == (target == [first])


def test_empty_target_is_refused():
    with pytest.raises(ValueError, match="empty target"):
        scoring.target_ids(lm("gpt2").tokenizer, "  ")
