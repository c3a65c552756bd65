import pandas as pd
import pytest

from engram.evaluation import indirect_effects
from engram.evaluation.derivation import Choice, Tables
from engram.evaluation.metrics import NO_JOB

PROMPTS = pd.DataFrame(
    {
        "model": "m",
        "variant": "main",
        "prompt_id": [7, 9],
        "tokens": [["a", "b", "c", "d", "e", "f", "g"], ["a", "b"]],
        "subject_begin": [1, 0],
        "subject_end": [5, 1],
        "clean": [0.8, 0.6],
        "corrupted": [0.2, 0.4],
    }
)
EFFECTS = pd.DataFrame(
    [
        ("m", "main", prompt, "mlp", token, layer, prompt + token / 10 + layer / 100)
        for prompt, length in ((7, 7), (9, 2))
        for token in range(length)
        for layer in range(2)
    ],
    columns=["model", "variant", "prompt_id", "site", "token", "layer", "score"],
)


def test_categories_overlap_where_a_prompt_is_short():
    assert indirect_effects.positions(1, 5, 8) == {
        "First subject token": range(1, 2),
        "Middle subject tokens": range(2, 4),
        "Last subject token": range(4, 5),
        "First subsequent token": range(5, 6),
        "Further tokens": range(6, 7),
        "Last token": range(7, 8),
    }
    short = {category: list(tokens) for category, tokens in indirect_effects.positions(0, 1, 2).items()}
    assert short == {
        "First subject token": [0],
        "Middle subject tokens": [],
        "Last subject token": [0],
        "First subsequent token": [1],
        "Further tokens": [],
        "Last token": [1],
    }


def test_a_subject_at_the_end_is_an_error():
    with pytest.raises(ValueError, match="followed"):
        indirect_effects.positions(0, 3, 3)


def averages(effects, prompts, site):
    return indirect_effects.averages((site,)).compute(Tables.of(effects=effects, traced=prompts), NO_JOB)


def test_averages_by_hand():
    table = averages(EFFECTS, PROMPTS, "mlp").set_index(["category", "layer"])
    # layer 1; scores are prompt + token / 10 + 0.01, mean corrupted is 0.3
    first = table.loc[("First subject token", 1)]  # 7.11 and 9.01
    assert first["count"] == 2
    assert first["mean_score"] == pytest.approx(8.06)
    assert first["indirect_effect"] == pytest.approx(7.76)
    assert first["std"] == pytest.approx(0.95)
    assert first["ci"] == pytest.approx(1.96 * 0.95 / 2**0.5)
    middle = table.loc[("Middle subject tokens", 1)]  # pooled: 7.21 and 7.31 of the first prompt, none of the second
    assert (middle["count"], middle["mean_score"], middle["std"]) == (2, pytest.approx(7.26), pytest.approx(0.05))
    assert table.loc[("Last subject token", 0), "mean_score"] == pytest.approx((7.4 + 9.0) / 2)
    assert table.loc[("First subsequent token", 0), "mean_score"] == pytest.approx((7.5 + 9.1) / 2)
    assert table.loc[("Last token", 0), "mean_score"] == pytest.approx((7.6 + 9.1) / 2)
    assert "Further tokens" not in table.index.get_level_values(0)  # neither prompt has one
    shown = [category for category in indirect_effects.CATEGORIES if category != "Further tokens"]
    assert list(dict.fromkeys(table.index.get_level_values(0))) == shown


def test_summary_by_hand():
    tables = Tables.of(effects=indirect_effects.with_categories(EFFECTS, PROMPTS, ["mlp"]), traced=PROMPTS)
    rows = indirect_effects.scalars(tables["effects"], ["mlp"])
    assert "peak: Further tokens" not in set(rows["quantity"]), "neither prompt has one"
    numbers = {"value": Choice("quantity", indirect_effects.SCALARS), "layer": indirect_effects.PEAK_LAYER}
    table = rows.assign(**{name: number.compute(rows, tables) for name, number in numbers.items()}).set_index(
        "quantity"
    )
    assert table.loc["average_total_effect", "value"] == pytest.approx(0.7 - 0.3)
    assert table.loc["peak: Last token", "layer"] == 1
    assert table.loc["peak: Last token", "value"] == pytest.approx((7.61 + 9.11) / 2 - 0.3)
    assert table.loc["best score: Last subject token", "value"] == pytest.approx((7.41 + 9.01) / 2)
    assert table.loc["best score: any token", "value"] == pytest.approx((7.61 + 9.11) / 2)
    assert table.loc["prompts", "value"] == 2


def test_errors_name_the_site_and_the_prompts():
    with pytest.raises(ValueError, match=r"'attn'.*mlp"):
        averages(EFFECTS, PROMPTS, "attn")
    with pytest.raises(ValueError, match=r"\[9\]"):
        averages(EFFECTS, PROMPTS.head(1), "mlp")


def test_tokens_that_were_not_traced_are_no_category():
    last_subject = EFFECTS[(EFFECTS["prompt_id"] == 7) & (EFFECTS["token"] == 4)]
    table = averages(last_subject, PROMPTS.head(1), "mlp")
    assert set(table["category"]) == {"Last subject token"}
