"""Edits in the report: prompts are those that were asked, limits are kept and said."""

import pytest

from embedded_data import embedded
from engram.editing import records
from engram.report import edited
from toy import tokenizer


@pytest.mark.parametrize(("dataset", "path"), [("counterfact", "facts"), ("zsre", "zsre")])
def test_prompts_are_those_that_were_asked(finished, dataset, path):
    table = finished.table(f"data/mini/{path}.parquet")
    if dataset == "counterfact":
        reverse = finished.table("data/mini/reversed.parquet")
        shown, wanted = (
            add(table, reverse)["reverse_prompts"].tolist() for add in (edited.with_reverse, records.with_reverse)
        )
        assert shown == wanted and shown[0] == ["The player of record 0 is"] and shown[1] == []
        table = edited.with_reverse(table, reverse).iloc[2:]
    queries, keys = records.queries(tokenizer(), table, dataset)
    asked = {
        (key["case_id"], key["kind"], key["prompt_index"]): tokenizer().decode(query.prompt_ids)
        for query, key in reversed(list(zip(queries, keys)))
    }
    shown = {
        (row.case_id, kind, index): text
        for row in table.itertuples()
        for kind, index, text in edited.prompts_of(dataset, row)
    }
    assert set(shown) == set(asked)
    assert {key: text.split() for key, text in shown.items()} == {key: text.split() for key, text in asked.items()}


def test_scores_of_unknown_prompts_are_refused(finished):
    scores = finished.table("results/edit/mini/counterfact/rome/n1/scores.parquet").assign(prompt_index=99)
    texts = finished.table("results/edit/mini/counterfact/rome/n1/texts.parquet")
    table, read = finished.table("data/mini/facts.parquet"), {"rome": {"scores": scores, "texts": texts}}
    with pytest.raises(ValueError, match=r"99.* not among the records"):
        edited.browser("counterfact", table, read, "mini")


def test_limits_are_kept_and_said(finished, monkeypatch):
    monkeypatch.setattr(edited, "RECORDS", 5)
    texts = finished.table("results/edit/mini/counterfact/rome/n1/texts.parquet")
    monkeypatch.setattr(edited, "LETTERS", 7 * int(texts["text"].str.len().max()))
    found = finished.build()
    data = embedded(found, "mini-counterfact")
    assert len(data["records"]) == 5 and data["total"] == 7 and data["written"] == 1
    assert list(data["methods"][0]["texts"]) == ["10"]
    assert "The first 5 of 7 records are here" in " ".join(found.decode().split())
