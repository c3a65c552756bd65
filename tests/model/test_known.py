"""Which facts a model knows: prompts and records against plain forwards."""

import pandas as pd
import pytest
import torch

from engram.model import known, scoring, tokens
from evaluated_records import LONG, RECORDS, ZSRE, slow_score
from toy import lm, loaded


def test_known_needs_every_token_of_the_object():
    model = lm("gpt2")
    prompts = ["Beats Music is owned by", "Thomas James Martin plays the"]
    ids = [tokens.encode(model.tokenizer, prompt) for prompt in prompts]
    (first, p), _ = scoring.predict(model, ids)
    logits = model.model(input_ids=torch.tensor([ids[0]])).logits[0, -1].softmax(-1)
    assert first == int(logits.argmax()) and p == pytest.approx(float(logits.max()), rel=1e-5)
    table = pd.DataFrame(
        {
            "prompt_id": [0, 1],
            "relation_id": "P1",
            "prompt": prompts,
            "subject": ["Beats Music", "Thomas"],
            "target_true": [model.tokenizer.decode([first]).strip() or "x", "chess"],
        }
    )
    result = known.prompts(model, table)
    assert result["answer_id"].tolist() == [token for token, _ in scoring.predict(model, ids)]
    target = tokens.encode(model.tokenizer, " " + table["target_true"][0])
    assert result["correct"][0] == (target == [first])


@pytest.mark.parametrize(
    ("dataset", "rows", "column"), [("counterfact", RECORDS, "target_true"), ("zsre", ZSRE, "target_true")]
)
def test_known_records_go_on_with_their_true_answer(dataset, rows, column):
    model = lm("gpt2")
    table = known.records(model, rows, dataset)
    for row, found in zip(rows.to_dict("records"), table.itertuples()):
        ids = tokens.encode(model.tokenizer, row["prompt"].replace("{}", row["subject"]))
        nll, correct = slow_score(model, ids, tokens.encode(model.tokenizer, " " + row[column]))
        assert found.case_id == row["case_id"] and found.correct == correct
        assert found.probability == pytest.approx(float(torch.tensor(-nll).double().exp()), rel=1e-4)


def test_a_fact_longer_than_the_model_reads_is_named_before_it_is_known():
    model = loaded("gpt2")
    with pytest.raises(ValueError, match="zsre record 20, its prompt with its true object: "):
        known.records(model, ZSRE.assign(target_true=[LONG, "Rome"]), "zsre")
    prompts = pd.DataFrame({"prompt_id": [7], "prompt": [LONG], "target_true": ["Rome"]})
    with pytest.raises(ValueError, match=r"^fact prompt 7 with its true object: "):
        known.prompts(model, prompts)
