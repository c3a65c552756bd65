"""Facts edited alone, together and one after the other, against really changing the weights step by step."""

from contextlib import ExitStack
from dataclasses import replace

import pandas as pd
import pytest
import torch

from changed_weights import snapshot, unchanged, written
from engram.editing import editor, outcomes, records, sequence
from engram.methods import memit_seq, rome
from engram.model.delta import NOTHING, applied
from engram.settings.fact_groups import FactGroup
from evaluated_records import FACTS, ROWS, SETTINGS, ZSRE, aids, config
from toy import lm


def tables(model, method, n, rows=ROWS, dataset="counterfact", **more):
    return sequence.tables(
        model, rows, method, SETTINGS[method], aids(model), FactGroup.parse(n), dataset, config(**more), ("key",)
    )


def without(table):
    return table.drop(columns="after").reset_index(drop=True)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("method", SETTINGS)
def test_in_turn_is_really_changing_the_weights_step_by_step(method, batch):
    model = lm("gpt2", torch.float64)
    before, found, n = snapshot(model), tables(model, method, f"6by{batch}"), len(FACTS)
    assert unchanged(model, before)
    assert sorted(found["scores"]["after"].unique()) == ([1, 2, 3, 6] if batch == 1 else [2, 6]), "checkpoints"
    own, module, original = aids(model), editor.load(method), {k: v for k, (_, v) in before.items()}
    with ExitStack() as steps:
        for start in range(0, n, batch):
            part, after = FACTS[start : start + batch], start + batch
            steps.enter_context(written(model, module.edit(model, part, SETTINGS[method], own)))
            if hasattr(module, "remember"):
                own = replace(own, earlier=module.remember(model, part, SETTINGS[method], own))
            read = without(found["scores"][found["scores"]["after"] == after])
            if len(read):
                wanted = outcomes.scores(model, ROWS[:after], [NOTHING] * after, "counterfact", config())
                assert read.drop(columns="nll").equals(wanted.drop(columns="nll"))
                assert read["nll"].tolist() == pytest.approx(wanted["nll"].tolist(), rel=1e-7)
        wanted = outcomes.texts(model, ROWS, [NOTHING] * n, config(), ("key",))
        assert without(found["texts"]).equals(wanted) and set(found["texts"]["after"]) == {n}, "texts at the end alone"
        moved = {name: value - original[name] for name, value in model.model.state_dict().items()}
    last = found["norms"][(found["norms"]["after"] == n) & (found["norms"]["case_id"] == 10)]
    assert last["delta_norm"].tolist() == pytest.approx(
        [float(moved[name].norm()) for name in last["weight"]], rel=1e-6
    )
    assert not last.empty or method == "none"


def test_three_by_one_is_one_call_with_three_facts_for_a_method_that_goes_in_turn():
    model = lm("gpt2")
    once, turns = (tables(model, "rome", n, ROWS[:3], top_k=1) for n in ("3", "3by1"))
    end = turns["scores"][turns["scores"]["after"] == 3]
    assert set(once["scores"]["after"]) == {3} and sorted(turns["scores"]["after"].unique()) == [1, 2, 3]
    assert without(end)["nll"].tolist() == pytest.approx(without(once["scores"])["nll"].tolist(), rel=1e-5)
    assert turns["texts"].equals(once["texts"])
    first = turns["scores"][turns["scores"]["after"] == 1]
    alone = tables(model, "rome", "1", ROWS[:1])["scores"]
    assert first["nll"].tolist() == pytest.approx(alone["nll"].tolist(), rel=1e-5), "the first of them, as if alone"


@pytest.mark.parametrize(("method", "dataset"), [("rome", "counterfact"), ("none", "zsre"), ("ft", "counterfact")])
def test_facts_alone_are_read_as_ever(method, dataset):
    """The tables of one call of outcomes.outcomes for all records, to the bit, and the column `after`."""
    model, rows = lm("gpt2"), ZSRE if dataset == "zsre" else ROWS
    found = tables(model, method, "1", rows, dataset)
    deltas = editor.deltas(method, model, records.to_facts(rows), SETTINGS[method], aids(model))
    wanted = outcomes.outcomes(model, rows, deltas, dataset, config(), ("key",))
    for name, table in wanted.items():
        assert next(iter(found[name])) == "after" and without(found[name]).equals(table)
        assert (found[name]["after"] == 1).all() and found[name]["after"].dtype == "int64"


@pytest.mark.parametrize("together_read", [1, 200])
def test_groups_are_edited_by_one_call_each_and_the_last_has_what_is_left(together_read):
    model = lm("gpt2", torch.float64)
    found = tables(model, "memit-seq", "4", records=together_read)
    assert found["scores"].groupby("case_id")["after"].unique().explode().tolist() == [4] * 4 + [2] * 2
    for part in (ROWS[:4], ROWS[4:]):
        with applied(model, memit_seq.edit(model, records.to_facts(part), SETTINGS["memit-seq"], aids(model))):
            wanted = outcomes.scores(model, part, [NOTHING] * len(part), "counterfact", config())
        read = found["scores"][found["scores"]["case_id"].isin(part["case_id"])]
        assert read["nll"].tolist() == pytest.approx(wanted["nll"].tolist(), rel=1e-8)
    assert tables(model, "memit-seq", "100")["scores"]["after"].unique().tolist() == [6], "fewer than were asked for"


def test_several_sequences_start_from_the_unedited_model():
    model = lm("gpt2", torch.float64)
    found = tables(model, "rome", "3by1", top_k=1)
    for start in (0, 3):
        own = tables(model, "rome", "3by1", ROWS[start : start + 3], top_k=1)
        cases = set(ROWS["case_id"][start : start + 3])
        for name, table in own.items():
            pd.testing.assert_frame_equal(found[name][found[name]["case_id"].isin(cases)].reset_index(drop=True), table)


@pytest.mark.parametrize("n", ["1", "2", "3by2"])
def test_texts_of_the_first_records_are_those_of_all(n):
    model = lm("gpt2", torch.float64)
    whole = tables(model, "rome", n, records=2)
    some = sequence.tables(
        model,
        ROWS,
        "rome",
        SETTINGS["rome"],
        aids(model),
        FactGroup.parse(n),
        "counterfact",
        config(records=2),
        ("key",),
        4,
    )
    assert some["scores"].equals(whole["scores"]) and some["norms"].equals(whole["norms"])
    first = whole["texts"][whole["texts"]["case_id"].isin(ROWS["case_id"][:4])].reset_index(drop=True)
    pd.testing.assert_frame_equal(some["texts"], first)


def test_the_model_is_whole_after_an_error_on_the_way(monkeypatch):
    model, real, calls = lm("gpt2"), rome.edit, []
    before = snapshot(model)

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("third")
        return real(*arguments)

    monkeypatch.setattr(rome, "edit", failing)
    with pytest.raises(RuntimeError, match="third"):
        tables(model, "rome", "6by1")
    assert unchanged(model, before) and len(calls) == 3
