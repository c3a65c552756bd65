"""What edited models make of held-out text: against one passage at a time with really changed weights."""

import pandas as pd
import pytest
import torch

from changed_weights import low, written
from engram.editing import drift, editor, outcomes, records, sequence
from engram.model.delta import NOTHING, Delta
from engram.settings.fact_groups import FactGroup
from evaluated_records import RECORDS, ROWS, SETTINGS, ZSRE, aids, config
from toy import TEXT, lm

TEXTS = pd.DataFrame(
    {
        "passage_id": [3, 4, 5, 6],
        "text": [
            "Zürich",
            "The Big Bang Theory premieres on CBS . " + TEXT[3],
            "Beats Music is owned by Apple . Rome in Apple .",
            " ".join(TEXT),
        ],
    }
)
SHORT = drift.Settings(passages=3, tokens=12, models=2)


def slow(model, passage, counted):
    """The mean over tokens of -log p, one forward pass."""
    with torch.no_grad():
        logs = model.model(input_ids=torch.tensor([passage.ids])).logits[0].log_softmax(-1)
    return -sum(float(logs[at - 1, passage.ids[at]]) for at in counted) / len(counted)


@pytest.mark.parametrize("kind", ["gpt2", "gemma", "mistral"])
def test_tables_are_those_of_one_passage_at_a_time(kind):
    """Start tokens or none; a change of low rank for each record, the first two of which read."""
    model = lm(kind, torch.float64)
    held = drift.heldout(model, TEXTS, SHORT)
    assert [one.passage_id for one in held.passages] == [4, 5, 6], "the first is too short"
    changes = [Delta({2: low(model, 2, 1, 10 * i)}) for i in range(3)]
    found = drift.table(model, RECORDS, changes, changes, held, 4, 2**31)
    assert list(zip(found["case_id"], found["passage_id"])) == [(10, 4), (10, 5), (10, 6), (11, 4), (11, 5), (11, 6)]
    for row in found.itertuples():
        record = RECORDS.set_index("case_id").loc[row.case_id]
        passage = next(one for one in held.passages if one.passage_id == row.passage_id)
        counted = passage.counted([(record["subject"], record["target_true"])])
        assert row.tokens == len(counted) and row.nll_before == pytest.approx(slow(model, passage, counted), rel=1e-9)
        with written(model, changes[row.case_id - 10]):
            assert row.nll == pytest.approx(slow(model, passage, counted), rel=1e-9)
        assert row.nll != pytest.approx(row.nll_before, rel=1e-6)


def test_tokens_of_what_is_replaced_do_not_count():
    model = lm("gpt2")
    passage = drift.heldout(model, TEXTS, drift.Settings(1, 18, 1)).passages[0]

    def left_out(*replaced):
        counted = passage.counted(list(replaced))
        return model.tokenizer.decode([passage.ids[at] for at in range(1, 18) if at not in counted])

    assert left_out(("The Big Bang Theory", "CBS")).strip() == "CBS", "of a subject that the passage names"
    assert left_out(("Beats Music", "CBS"), ("The Big Bang Theory", "CB")) == "", "another subject; a part of a word"
    assert len(passage.counted([])) == 17 and "CBS" in passage.text
    assert left_out(("The Big Bang Theory", "CBS"), ("The Big Bang Theory", "Theory")).replace(" ", "") == "TheoryCBS"


def test_a_passage_without_a_token_that_counts_has_no_row():
    model = lm("gpt2")
    held = drift.heldout(model, TEXTS[1:2], drift.Settings(1, 3, 1))
    changes = [Delta({2: low(model, 2, 1, 1)})]
    every = RECORDS[:1].assign(subject="The", target_true=held.passages[0].text)
    assert drift.table(model, every, changes, changes, held, 4, 2**31).empty
    assert len(drift.table(model, RECORDS[:1], changes, changes, held, 4, 2**31)) == 1


def test_too_few_passages_are_said():
    with pytest.raises(
        ValueError, match=r"4 passages of 12 tokens are wanted .* the source keeps 3 of 4 from training"
    ):
        drift.heldout(lm("gpt2"), TEXTS, drift.Settings(4, 12, 1))


@pytest.mark.parametrize(
    ("method", "n", "rows"),
    [
        ("rome", "1", [(1, 10), (1, 11), (1, 12)]),
        ("rome", "2", [(2, 10), (2, 12), (2, 21)]),
        ("rome", "3by1", [(after, case) for case in (10, 20) for after in (1, 2, 3)]),
        ("none", "1", [(1, 10), (1, 11), (1, 12)]),
        ("none", "3by1", [(after, case) for case in (10, 20) for after in (1, 2, 3)]),
    ],
)
@pytest.mark.parametrize("together_read", [2, 200])
def test_every_model_of_a_job_reads_until_enough_have(method, n, rows, together_read):
    """The models as the word n says, under the first record that they hold, whatever is read together."""
    model = lm("gpt2")
    held = drift.heldout(model, TEXTS, drift.Settings(3, 12, 3))
    found = sequence.tables(
        model,
        ROWS,
        method,
        SETTINGS[method],
        aids(model),
        FactGroup.parse(n),
        "counterfact",
        config(records=together_read),
        ("key",),
        0,
        held,
    )["drift"]
    assert list(found)[:3] == ["after", "case_id", "passage_id"]
    assert list(dict.fromkeys(zip(found["after"], found["case_id"]))) == rows and len(found) == 3 * len(rows)
    same = found["nll"].to_numpy() == pytest.approx(found["nll_before"].to_numpy(), rel=1e-6)
    assert same == (method == "none")


def test_a_shared_change_is_read_in_the_weights():
    """Facts edited together: as if each had been read with its own hooks."""
    model = lm("gpt2", torch.float64)
    held = drift.heldout(model, TEXTS, SHORT)
    change = editor.load("rome").edit(model, records.to_facts(ROWS[:2]), SETTINGS["rome"], aids(model))
    found = outcomes.outcomes(model, ROWS[:2], [change] * 2, "counterfact", config(), ("key",), 0, held.after(0, 2))[
        "drift"
    ]
    wanted = drift.table(model, ROWS[:2], [change] * 2, [change] * 2, held.after(0, 2), 8, 2**31)
    pd.testing.assert_frame_equal(found, wanted, check_exact=False, rtol=1e-9)
    assert len(found) == 3 and (found["nll"] - found["nll_before"]).abs().min() > 1e-4


def test_without_passages_the_table_is_empty():
    model = lm("gpt2")
    found = outcomes.outcomes(model, ZSRE, [NOTHING] * 2, "zsre", config(), ("key",))["drift"]
    assert found.empty and dict(found.dtypes.astype(str)) == drift.COLUMNS
    held = drift.heldout(model, TEXTS, SHORT)
    change = [Delta({2: low(model, 2, 1, 1)})] * 2
    answered = ZSRE.assign(subject="Thomas James Martin", target_true="piano")
    found = outcomes.outcomes(model, answered, change, "zsre", config(), ("key",), 0, held.after(0, 2))["drift"]
    assert found["tokens"].tolist()[0] < 11 or len(found) == 3, "in zsRE, too"
