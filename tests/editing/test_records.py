"""Records become queries: what cannot be asked, is too long, or contradicts another record is named."""

import pandas as pd
import pytest

import toy
from engram.editing import outcomes, records
from engram.model.delta import NOTHING
from evaluated_records import LONG, RECORDS, ZSRE, config
from toy import lm, loaded


def test_zsre_records_that_cannot_be_asked_and_unknown_datasets():
    model = lm("gpt2")
    with pytest.raises(ValueError, match=r"zsRE record 20: the prompt 'Where' must hold exactly one {}"):
        records.queries(model.tokenizer, ZSRE.assign(prompt="Where"), "zsre")
    with pytest.raises(ValueError, match="no dataset 'mcf'; there are counterfact, zsre"):
        records.queries(model.tokenizer, ZSRE, "mcf")
    assert list(outcomes.texts(model, ZSRE, [NOTHING] * 2, config(), ()).columns) == [
        "case_id",
        "prompt_index",
        "prompt",
        "text",
    ]


@pytest.mark.parametrize(
    ("column", "value", "dataset", "table", "said"),
    [
        (
            "paraphrase_prompts",
            ["Rome", LONG],
            "counterfact",
            RECORDS,
            "counterfact record 11, paraphrase prompt 1 with its object",
        ),
        ("target_new", LONG, "counterfact", RECORDS, "counterfact record 11, rewrite prompt 0 with its object"),
        ("loc_target", LONG, "zsre", ZSRE, "zsre record 21, neighborhood prompt 0 with its object"),
    ],
)
def test_a_record_longer_than_the_model_reads_is_named(column, value, dataset, table, said):
    model = loaded("gpt2")
    records.check_lengths(model, table, dataset, ("{}", "Rome. {}"))  # as they are, they fit
    rows = [row | {column: value} if i == 1 else row for i, row in enumerate(table.to_dict("records"))]
    with pytest.raises(ValueError, match=f"^{said}: [0-9]+ tokens for model toy-gpt2, which has 64 positions"):
        records.check_lengths(model, pd.DataFrame(rows), dataset)


def test_records_that_contradict_each_other_are_found():
    facts = pd.DataFrame(
        {
            "case_id": [3, 4, 5, 6],
            "subject": ["Zoë", "Zoë", "Zoë", "Rome"],
            "relation_id": ["P1", "P1", "P2", "P1"],
            "prompt": ["{} is", "{} was", "{} is", "{} is"],
            "target_new": ["a", "b", "b", "b"],
        }
    )
    assert records.contradictions(facts) == [(3, 4)]
    assert records.contradictions(facts.drop(columns="relation_id")) == [(3, 5)]
    assert records.contradictions(facts.assign(target_new="a")) == []


@pytest.mark.parametrize("kind", ["gpt2", "opt", "mistral"])
def test_zsre_asks_for_every_token_after_the_text_so_far(kind):
    """Question and answer so far are the text that they are together, and the goal is the next token of it."""
    tokenizer = toy.tokenizer(kind)
    row = pd.DataFrame(
        [
            {
                "case_id": 1,
                "subject": "Apple",
                "prompt": "What does {} do ?",
                "target_new": "plays the piano",
                "rephrase": "What is Apple ?",
                "loc": "who plays chess",
                "loc_target": "He",
            }
        ]
    )
    queries, keys = records.queries(tokenizer, row, "zsre")
    rewrite = [query for query, key in zip(queries, keys) if key["kind"] == "rewrite"]
    whole = tuple(tokenizer("What does Apple do ? plays the piano")["input_ids"])
    first = len(tokenizer("What does Apple do ?")["input_ids"])
    assert [query.prompt_ids for query in rewrite] == [whole[:at] for at in range(first, len(whole))]
    assert [query.target_ids for query in rewrite] == [(token,) for token in whole[first:]]
