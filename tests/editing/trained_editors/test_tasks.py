"""What editors are trained on: no evaluated record, no text too long, completions of the model itself."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

import toy
from engram.editing import records
from engram.editing.trained_editors import editors, tasks
from hypernets import DATA, tables, task_of, texts_of


@pytest.mark.parametrize("name", tasks.TASKS)
def test_no_evaluated_record_is_trained_on(name):
    """Whatever is edited: neither its record nor the same question about its subject is in the training split."""
    lm, found = toy.lm(), tables()
    table = found["zsre" if name == "zsre" else "facts"]
    for edited in (1, 4, 9):
        evaluated = records.chosen(table, pd.DataFrame({"case_id": table["case_id"], "correct": True}), edited, True)
        task = tasks.make(lm, name, found, evaluated, DATA, (0, "toy", name))
        used = {case for cases in task.about["case_id"].values() for case in cases}
        assert not used & set(evaluated["case_id"])
        if name == "gen":
            assert used == set() and len(task.train.examples) == 6
            continue
        parts = task.about["case_id"]
        assert parts["validation"] == [10, 11] and not set(parts["train"]) & set(parts["validation"])
        assert parts["train"] == list(range(max(4, edited), 10)), "from the end of the table"
        asked = {
            text.prompt for part in (task.train, task.validation) for example in part.examples for text in example.asked
        }
        for fact in records.to_facts(evaluated):
            assert texts_of(lm, [fact])[0].prompt not in asked
            assert editors.mark(fact.subject, fact.prompt) not in task.about["seen"]
    if name != "gen":
        with pytest.raises(ValueError, match="2 of 12 records are not edited: too few"):
            tasks.make(lm, name, found, table.head(10), DATA, (0, "toy", name))
    with pytest.raises(ValueError, match="text_tokens is 65, but model toy-gpt2 reads at most 64"):
        task_of(lm, name, data=replace(DATA, text_tokens=65))


def test_a_record_too_long_for_the_model_is_named():
    found = tables()
    found["facts"]["paraphrase_prompts"] = [["chess " * 40 + "{}"]] * len(found["facts"])
    with pytest.raises(ValueError, match=r"reads at most 64 tokens, but this text .* chess chess"):
        tasks.make(toy.lm(), "facts", found, found["facts"].head(2), DATA, (0, "toy"))


def test_completions_are_the_models_own_and_independent_of_the_batch():
    """Each is what sampling its prompt alone gives; with one token to choose from, it is greedy."""
    lm = toy.lm()
    prompts = [[5, 6, 7], [8], [9, 10, 11, 12, 13]]
    keys = [("x", i) for i in range(3)]
    together = tasks.complete(lm, prompts, keys, 4, 7)
    assert together == [tasks.complete(lm, [prompt], [key], 4, 7)[0] for prompt, key in zip(prompts, keys)]
    assert together == tasks.complete(lm, prompts, keys, 4, 7, rows=2) != tasks.complete(lm, prompts, keys[::-1], 4, 7)
    greedy = tasks.complete(lm, prompts, keys, 4, 1)
    for prompt, found in zip(prompts, greedy):
        ids = list(prompt)
        for token in found:
            assert int(lm.model(torch.tensor([ids])).logits[0, -1].argmax()) == token
            ids.append(token)
    examples = task_of(lm, "gen").train.examples
    assert all(
        text.target == one.edit.target and one.edit.prompt[-len(text.prompt) :] == text.prompt
        for one in examples
        for text in one.asked
    )
