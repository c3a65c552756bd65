"""From a number to its raw rows: a small chain of real tables, every answer against pandas."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from engram.evaluation import indirect_effects, metrics
from engram.job import arguments, schemas
from engram.provenance import number_lineage
from repository import ROOT

RUN = {"run": {"threads": 1}, "model": {"name": "toy"}}
CATEGORY = "Last subject token"


def job(script: str, inputs: dict, outputs: dict, config: dict) -> arguments.Job:
    argv = [word for name, path in outputs.items() for word in (f"--{name}", str(path))]
    return arguments.Job(
        ROOT / script,
        [script, *argv],
        config,
        SimpleNamespace(**inputs),
        SimpleNamespace(**outputs),
        SimpleNamespace(model="toy"),
    )


def scores(method: str, rng) -> pd.DataFrame:
    rows = [
        (
            "toy",
            "counterfact",
            method,
            "2by1",
            after,
            case,
            kind,
            0,
            target,
            float(rng.uniform(0, 5)),
            bool(rng.integers(2)),
        )
        for after in (1, 2)
        for case in range(30)
        for kind in metrics.KINDS
        for target in ("new", "true")
    ]
    return pd.DataFrame(
        rows,
        columns=[
            "model",
            "dataset",
            "method",
            "n",
            "after",
            "case_id",
            "kind",
            "prompt_index",
            "target",
            "nll",
            "correct",
        ],
    )


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Outcomes of two editors, their metrics, a table of them; traces of a few prompts and a figure of them."""
    monkeypatch.chdir(tmp_path)
    rng, summaries = np.random.default_rng(0), []
    for method in ("rome", "memit"):
        raw = Path(f"results/edit/toy/{method}/scores.parquet")
        job("workflow/scripts/edit.py", {}, {"scores": raw}, RUN | {"seed": 0}).write("scores", scores(method, rng))
        folder = Path(f"results/evaluate/toy/{method}")
        records = metrics.of("counterfact", pd.read_parquet(raw)).assign(relation_id=["P1", "P2"] * 30)
        records = records.assign(model="toy", dataset="counterfact", method=method, n="2by1", GE=np.nan, RS=np.nan)
        summary = metrics.summary(records, "counterfact", along=True).assign(model="toy", method=method, n="2by1")
        evaluated = job(
            "workflow/scripts/evaluate.py",
            {"scores": raw},
            {"records": folder / "records.parquet", "summary": folder / "summary.csv"},
            {"seed": 0},
        )
        summary["dataset"] = "counterfact"
        evaluated.write("records", records[[name for name in schemas.RECORDS.schema.names if name in records]])
        evaluated.write("summary", summary[schemas.SUMMARY.schema.names])
        summaries.append(folder / "summary.csv")
    table = pd.concat([pd.read_csv(path, keep_default_na=False) for path in summaries])
    table = table[table["after"] == 2].drop(columns="after")
    item = job(
        "workflow/figures/rome/table4_counterfact.py", {"summaries": summaries}, {"csv": Path("figures/toy/t.csv")}, {}
    )
    item.write("csv", table)
    _traces(rng)
    return tmp_path


def _traces(rng) -> None:
    prompts = pd.DataFrame(
        [
            ("toy", "main", prompt, "a b c d", "b c", "e", ["a", "b", "c", "d", "e"], 1, 3, 1.0, rng.uniform(0, 0.2))
            for prompt in range(9)
        ],
        columns=schemas.TRACED.schema.names,
    )
    found = pd.DataFrame(
        [
            ("toy", "main", prompt, site, token, layer, rng.uniform())
            for prompt in range(9)
            for site in ("hidden", "mlp")
            for token in range(5)
            for layer in range(3)
        ],
        columns=["model", "variant", "prompt_id", "site", "token", "layer", "score"],
    )
    files = {"effects": Path("results/trace/toy/effects.parquet"), "traced": Path("results/trace/toy/prompts.parquet")}
    traced = job("workflow/scripts/trace.py", {}, files, RUN)
    traced.write("effects", found)
    traced.write("traced", prompts)
    lines = indirect_effects.by_layer(found, prompts, ("hidden", "mlp"), "toy")
    item = job("workflow/figures/rome/fig7_lines.py", files, {"csv": Path("figures/toy/f.csv")}, {})
    item.write("csv", lines)
    short = lines[(lines["category"] == CATEGORY) & (lines["site"] == "mlp")].assign(quantity="effect of mlp")
    job("workflow/figures/beyond/tracing_and_editing.py", files, {"csv": Path("figures/toy/g.csv")}, {}).write(
        "csv", short[["model", "quantity", "layer", "indirect_effect"]]
    )


def step(number, name: str):
    return next(one for one in number.steps if one.path.name == name)


@pytest.mark.parametrize(
    ("metric", "kinds"), [("EM", ["rewrite"]), ("NM", ["neighborhood"]), ("S", list(metrics.KINDS))]
)
def test_a_score_of_a_table(repository, metric, kinds):
    number = number_lineage.find(".", f"figures/toy/t.csv:method=memit,metric={metric},value")
    assert [one.path.as_posix().split("/")[3] for one in number.steps] == ["memit"] * 3, "nothing of the other editor"
    assert step(number, "summary.csv").others == 1
    records = pd.read_parquet("results/evaluate/toy/memit/records.parquet")
    records = records[records["after"] == 2]
    expected = metrics.harmonic(list(records[["ES", "PS", "NS"]].mean())) if metric == "S" else records[metric].mean()
    assert float(number.text) == pytest.approx(100 * expected, rel=1e-5)
    found = step(number, "records.parquet")
    pd.testing.assert_frame_equal(found.chosen.rows, records)
    assert found.follows.startswith("100 x the " + ("harmonic mean" if metric == "S" else f"mean of column {metric}"))
    raw = pd.read_parquet("results/edit/toy/memit/scores.parquet")
    pd.testing.assert_frame_equal(
        step(number, "scores.parquet").chosen.rows, raw[(raw["after"] == 2) & raw["kind"].isin(kinds)]
    )


def test_an_effect_of_a_figure(repository):
    """By its words, and where the csv does not name the kind of token, by the number."""
    number = number_lineage.find(".", f"figures/toy/f.csv:mlp,{CATEGORY},layer=1,indirect_effect")
    found, prompts = (
        pd.read_parquet("results/trace/toy/effects.parquet"),
        pd.read_parquet("results/trace/toy/prompts.parquet"),
    )
    expected = found[(found["site"] == "mlp") & (found["layer"] == 1) & (found["token"] == 2)]
    chosen = step(number, "effects.parquet")
    assert chosen.chosen.rows["score"].tolist() == expected["score"].tolist() and chosen.chosen.total == len(found)
    assert float(number.text) == pytest.approx(expected["score"].mean() - prompts["corrupted"].mean(), rel=1e-5)
    assert chosen.follows == "mean of column score less mean of column corrupted"
    number = number_lineage.find(".", "figures/toy/g.csv:2,indirect_effect")
    chosen = step(number, "effects.parquet")
    assert chosen.chosen.rows["score"].tolist() == expected["score"].tolist()
    assert "only the number says" in chosen.follows and "site = mlp" in chosen.chosen.filters


def test_a_number_that_does_not_follow_is_not_said_to(repository):
    table = pd.read_csv("figures/toy/t.csv", keep_default_na=False)
    table.loc[table["metric"] == "ES", "value"] = 12.3456
    table.to_csv("figures/toy/t.csv", index=False)
    number = number_lineage.find(".", "figures/toy/t.csv:method=memit,metric=ES,value")
    assert [one.follows for one in number.steps] == [None] * 3
    text = number_lineage.report(".", number)
    assert "modified" in text.splitlines()[1], "and the file is not what was written"
    assert " of 360 rows: " in text and "sha256" in text
    found = json.loads(number_lineage.main(".", "figures/toy/t.csv:1,value", "json"))
    assert found["row"] == 1 and found["steps"][0]["rows"] == 1 and len(found["steps"][0]["sha256"]) == 64


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("figures/toy/t.csv:99,value", "no row 99; there are 20, counted from 1"),
        ("figures/toy/t.csv:1,nothing", "no column 'nothing'"),
        ("figures/toy/t.csv:rome,value", "10 rows have rome"),
        ("figures/toy/t.csv:colour=red,metric=ES,value", "no column 'colour'"),
        ("figures/toy/t.csv", "right is figures/….csv:row,column"),
        ("figures/toy/t.csv:0,value", "no row 0"),
    ],
)
def test_what_is_no_number(repository, spec, words):
    with pytest.raises(ValueError, match=words):
        number_lineage.find(".", spec)
