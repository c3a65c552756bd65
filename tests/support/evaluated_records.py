"""Small tables of COUNTERFACT and zsRE records for the toy models, and the score of one text by a plain forward."""

import pandas as pd
import torch

from changed_weights import low
from engram.editing import editor, outcomes, records, second_moment
from engram.methods import ft, memit_seq, none, rome
from engram.model.delta import Delta
from toy import PROMPTS

RECORDS = pd.DataFrame(
    [
        {
            "case_id": 10 + i,
            "relation_id": "P1",
            "subject": subject,
            "prompt": prompt.replace(subject, "{}"),
            "target_new": new,
            "target_true": true,
            "paraphrase_prompts": [f"Zürich. {prompt}"] * 2,
            "neighborhood_prompts": ["Thomas plays the", "What does he do ? He"],
            "attribute_prompts": ["Apple"],
            "generation_prompts": [prompt, subject, subject],
        }
        for i, ((prompt, subject), new, true) in enumerate(
            zip(PROMPTS, ("chess", "Rome in Switzerland", "Apple"), ("CBS", "Rome in Apple", "French"))
        )
    ]
)


ZSRE = pd.DataFrame(
    [
        {
            "case_id": 20 + i,
            "subject": subject,
            "prompt": "Where is {}?",
            "target_new": new,
            "target_true": "Rome",
            "rephrase": f"In which city is {subject}?",
            "loc": "nq question: who plays chess",
            "loc_target": true,
        }
        for i, (subject, new, true) in enumerate(
            (("Zoë", "Zürich 東京", "Thomas James"), ("Rome", "Switzerland", "Ω chess"))
        )
    ]
)


def deltas(model, count=3):
    return [Delta({2: low(model, 2, 1, 10 * i)}) for i in range(count)]


def config(batch=64, **more):
    return outcomes.Config(**{"generation_tokens": 24, "top_k": 3, "batch": batch, "generation_batch": batch, **more})


def slow_score(model, ids, target):
    with torch.no_grad():
        logs = model.model(input_ids=torch.tensor([[*ids, *target]])).logits[0].log_softmax(-1)
    own = [-float(logs[len(ids) + j - 1, token]) for j, token in enumerate(target)]
    return sum(own) / len(own), all(int(logs[len(ids) + j - 1].argmax()) == token for j, token in enumerate(target))


LONG = "the piano in Rome " * 30


ROWS = pd.concat(
    [RECORDS, RECORDS.assign(case_id=RECORDS["case_id"] + 10, target_new=["chess", "CBS", "piano in Rome"])],
    ignore_index=True,
)


FACTS = records.to_facts(ROWS)


SETTINGS = {
    "rome": rome.Settings(layer=1),
    "ft": ft.Settings(layer=2, rate=0.05, steps=3),
    "memit-seq": memit_seq.Settings(layers=(1, 2), layer=2, covariance_weight=5.0),
    "none": none.Settings(),
}


def aids(model):
    moments = {}
    for layer in (1, 2):
        keys = torch.randn(
            512, model.key_width(layer), generator=torch.Generator().manual_seed(layer), dtype=torch.float64
        )
        moments[layer] = second_moment.Moment(keys.T @ keys, len(keys))
    values = torch.randn(len(FACTS), model.width, generator=torch.Generator().manual_seed(9)).to(
        next(model.model.parameters())
    )
    return editor.Aids(("{}", "Zürich is. {}"), moments, {fact.case_id: value for fact, value in zip(FACTS, values)})
