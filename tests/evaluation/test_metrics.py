"""Metrics against numbers worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from engram.evaluation import metrics
from engram.evaluation.derivation import Tables


def rows(kind, case_id, pairs, correct=(False, False)):
    return [
        {"after": 1, "case_id": case_id, "kind": kind, "prompt_index": i, "target": target, "nll": nll, "correct": hit}
        for i, pair in enumerate(pairs)
        for target, nll, hit in zip(("new", "true"), pair, correct)
    ]


def scores(case_id=7):
    return pd.DataFrame(
        rows("rewrite", case_id, [(0.0, math.log(2))], (True, False))
        + rows("paraphrase", case_id, [(1.0, 1.0), (math.log(4), math.log(2))], (False, True))
        + rows("neighborhood", case_id, [(math.log(10), 0.0)], (True, False))
        + rows("neighborhood", case_id, [(math.log(10), 0.0), (0.0, math.log(10))], (False, True))[2:]
        + rows("attribute", case_id, [(0.0, 0.0)])
    )


def test_probability_metrics_by_hand():
    (row,) = metrics.of("counterfact", scores()).to_dict("records")
    assert row["case_id"] == 7
    assert (row["ES"], row["PS"], row["NS"]) == (1.0, 0.0, 0.5), "ties are failures"
    assert row["EM"] == pytest.approx(0.5)
    assert row["PM"] == pytest.approx((0.0 + 0.25 - 0.5) / 2)
    assert row["NM"] == pytest.approx((1 - 0.1 + 0.1 - 1) / 2)
    assert (row["EA"], row["PA"], row["NA"]) == (1.0, 0.0, 0.5), "new, new, true: every token the first choice"


def test_the_reverse_question_counts_where_there_is_one_and_in_nothing_else():
    plain = pd.concat([scores(7), scores(8), scores(9)], ignore_index=True)
    asked = pd.concat(
        [
            plain,
            pd.DataFrame(
                rows("reverse", 7, [(0.0, math.log(4))], (True, False))
                + rows("reverse", 9, [(math.log(5), math.log(5))], (False, True))
            ),
        ]
    )
    with_it, without = metrics.of("counterfact", asked), metrics.of("counterfact", plain)
    assert with_it["VS"].tolist()[::2] == [1.0, 0.0] and with_it["VA"].tolist()[::2] == [1.0, 0.0]
    assert with_it["VM"].tolist()[::2] == pytest.approx([0.75, 0.0]) and with_it.loc[1, ["VS", "VM", "VA"]].isna().all()
    assert without.equals(with_it.drop(columns=["VS", "VM", "VA"])) and not set(without) & {"VS", "VM", "VA"}
    frame = with_it.assign(GE=np.nan, RS=np.nan)
    summary = metrics.summary(frame).set_index("metric")
    assert summary.loc["VS", ["value", "count"]].tolist() == [50, 2] and "GE" not in summary.index
    assert summary.loc["VM", "ci"] == pytest.approx(196 * 0.375 / math.sqrt(2))
    rest = metrics.summary(without.assign(GE=np.nan, RS=np.nan)).set_index("metric")
    pd.testing.assert_frame_equal(summary.drop(["VS", "VM", "VA"]), rest)


def test_a_missing_target_or_kind_is_an_error():
    with pytest.raises(ValueError, match="target `new` and one with target `true`"):
        metrics.of("counterfact", pd.DataFrame(rows("rewrite", 1, [(0.0, 1.0)])).iloc[:1])
    other = scores(8)
    with pytest.raises(ValueError, match="record 8 has no prompts for PA, PM, PS"):
        metrics.of("counterfact", pd.concat([scores(), other[other["kind"] != "paraphrase"]]))


def answer(case_id, kind, hits):
    target = "true" if kind == "neighborhood" else "new"
    return [
        {
            "after": 3,
            "case_id": case_id,
            "kind": kind,
            "prompt_index": 0,
            "token": i,
            "target": target,
            "nll": 1.0,
            "correct": hit,
        }
        for i, hit in enumerate(hits)
    ]


def test_zsre_metrics_are_shares_of_tokens():
    table = pd.DataFrame(
        answer(1, "rewrite", (True, True, False))
        + answer(1, "paraphrase", (False,))
        + answer(1, "neighborhood", (True, False))
        + answer(2, "rewrite", (True,))
        + answer(2, "paraphrase", (True, False, False, True))
        + answer(2, "neighborhood", (True,))
    )
    records = metrics.of("zsre", table)
    assert records.to_dict("list") == {
        "after": [3, 3],
        "case_id": [1, 2],
        "EA": pytest.approx([2 / 3, 1]),
        "PA": [0.0, 0.5],
        "NA": [0.5, 1.0],
    }
    summary = metrics.summary(records, "zsre").set_index("metric")
    assert list(summary.index) == ["S", "EA", "PA", "NA"] and summary.loc["PA", "value"] == 25
    assert summary.loc["S", "value"] == pytest.approx(100 * 3 / (6 / 5 + 4 + 4 / 3))
    assert (
        summary.loc["NA", "ci"] == pytest.approx(100 * 1.96 * 0.25 / math.sqrt(2)) and summary.loc["NA", "count"] == 2
    )
    with pytest.raises(ValueError, match="record 2 has no prompts for PA"):
        metrics.of("zsre", table[(table["case_id"] == 1) | (table["kind"] != "paraphrase")])
    with pytest.raises(ValueError, match="a token of an answer stands twice"):
        metrics.of("zsre", pd.concat([table, table[:1]]))


def test_summary_uses_population_std_and_the_harmonic_mean():
    names = metrics.METRICS["counterfact"][1]
    table = metrics.summary(pd.DataFrame({"after": 1} | {name: [0.0, 1.0, 1.0, 1.0] for name in names})).set_index(
        "metric"
    )
    assert list(table.index) == ["S", *names]
    assert table.loc["ES", "value"] == 75 and table.loc["S", "value"] == pytest.approx(75)
    assert table.loc["PS", "ci"] == pytest.approx(100 * 1.96 * np.sqrt(0.75 * 0.25) / 2)
    assert table.loc["S", "count"] == 4 and table.loc["S", "ci"] == pytest.approx(table.loc["ES", "ci"]), (
        "three equal columns"
    )
    assert metrics.harmonic([0.5, 1.0, 0.25]) == pytest.approx(3 / 7) and metrics.harmonic([0.0, 1.0]) == 0


def test_the_interval_of_the_harmonic_mean_is_that_of_a_bootstrap():
    random = np.random.default_rng(0)
    easy = random.random(300)
    table = pd.DataFrame(
        {"ES": (easy < 0.9) * 1.0, "PS": (easy + random.random(300) < 1.0) * 0.5, "NS": random.random(300)}
    )
    score, width = metrics.harmonic_ci(table)
    assert score == pytest.approx(3 / (1 / table["ES"].mean() + 1 / table["PS"].mean() + 1 / table["NS"].mean()))
    again = [metrics.harmonic(list(table.iloc[random.integers(0, 300, 300)].mean())) for _ in range(2000)]
    assert width == pytest.approx(1.96 * np.std(again), rel=0.07)
    assert np.isnan(metrics.harmonic_ci(table.assign(ES=0.0))[1]), "S is 0"


def with_texts(table, texts):
    """The records of scores with the texts of the first cases of 7, 8, 9; the object's reference is `golf in Rome`."""
    cases = pd.DataFrame({"case_id": [7, 8, 9], "relation_id": "P1", "target_new_id": "Q1"})
    written = cases[["case_id"]].head(len(texts)).assign(prompt_index=0, text=pd.Series(texts, dtype=str))
    snippets = pd.DataFrame({"relation_id": ["P1"], "target_id": ["Q1"], "text": ["golf in Rome"]})
    tables = Tables.of(scores=table, facts=cases, texts=written, snippets=snippets)
    return metrics.records("counterfact").compute(tables, metrics.NO_JOB)


def test_one_sequence_has_a_summary_at_every_checkpoint():
    """Each record as often as it was read; texts at the end alone, where they belong to the last reading of a
    record.
    """
    read = [(1, 7), (2, 7), (2, 8), (4, 7), (4, 8), (4, 9)]
    table = pd.concat([scores(case_id).assign(after=after) for after, case_id in reversed(read)], ignore_index=True)
    records = metrics.of("counterfact", table)
    assert list(zip(records["after"], records["case_id"])) == read
    records = with_texts(table, ["golf in Rome"] * 3)
    assert records["GE"].isna().tolist() == [True] * 3 + [False] * 3 and records["after"].dtype == "int64"
    assert records["RS"].tolist()[3:] == pytest.approx([1.0] * 3) and records["RS"].isna().sum() == 3
    records = records.assign(GE=[np.nan] * 3 + [1.0, 2.0, 6.0], RS=records["RS"] / 2)
    summary = metrics.summary(records, along=True)
    assert list(summary) == ["after", "metric", "value", "ci", "count"]
    sizes = summary.groupby("after")["metric"].agg(len).to_dict()
    assert sizes == {1: 10, 2: 10, 4: 12} and list(summary["metric"][-2:]) == ["GE", "RS"]
    assert summary[summary["metric"] == "ES"]["count"].tolist() == [1, 2, 3]
    assert summary[summary["metric"] == "GE"]["value"].tolist() == [300]
    pooled = metrics.summary(records[records["after"] == 4].assign(after=[4, 4, 1]))
    assert set(pooled["after"]) == {4} and set(pooled["count"]) == {3}, (
        "groups at once: all records, the last group too"
    )
    without = with_texts(table, [])
    assert len(without) == 6 and "GE" not in set(metrics.summary(without, along=True)["metric"])
    some = metrics.summary(records[records["after"] == 4].assign(GE=[1.0, 2.0, np.nan], RS=np.nan)).set_index("metric")
    assert some.loc["GE", "count"] == 2 and some.loc["GE", "value"] == 150 and "RS" not in some.index, (
        "of those with texts"
    )
    with pytest.raises(ValueError, match="a missing one"):
        metrics.summary(records.assign(PS=np.nan), along=True)
