"""From a number to its raw rows: a small chain of real tables, every answer against pandas."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from engram.evaluation import metrics
from engram.evaluation.derivation import Tables
from engram.job import arguments, schemas
from engram.provenance import number_lineage
from fake_tables import load_item, write

ROOT = Path(__file__).parents[2]
CATEGORY = "Last subject token"
LINES = "rome/fig7_lines"


def job(script: str, inputs: dict, outputs: dict, config: dict, **keys) -> arguments.Job:
    argv = [word for name, path in outputs.items() for word in (f"--{name}", str(path))]
    return arguments.Job(
        Path(script),
        [script, *argv],
        config,
        SimpleNamespace(**inputs),
        SimpleNamespace(**outputs),
        SimpleNamespace(model="toy", **keys),
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
    names = "model dataset method n after case_id kind prompt_index target nll correct"
    return pd.DataFrame(rows, columns=names.split())


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Outcomes of two editors, their metrics, a table of them; traces of a few prompts and a figure of them."""
    monkeypatch.chdir(tmp_path)
    rng, summaries = np.random.default_rng(0), []
    facts = Path("data/toy/facts.parquet")
    facts.parent.mkdir(parents=True)
    write(facts, pd.DataFrame({"case_id": range(30), "relation_id": ["P1", "P2"] * 15}), "facts")
    for method in ("rome", "memit"):
        raw = Path(f"results/edit/toy/{method}/scores.parquet")
        edit = job(str(ROOT / "workflow/scripts/edit.py"), {}, {"scores": raw}, {"seed": 0})
        edit.write("scores", scores(method, rng))
        folder = Path(f"results/evaluate/toy/{method}")
        outputs = {"records": folder / "records.parquet", "summary": folder / "summary.csv"}
        keys = {"dataset": "counterfact", "method": method, "n": "2by1"}
        script = str(ROOT / "workflow/scripts/evaluate.py")
        evaluate = job(script, {"facts": facts, "scores": raw}, outputs, {"seed": 0}, **keys)
        tables = Tables(vars(evaluate.inputs))
        for name, derivation in metrics.derivations(evaluate).items():
            tables[name] = derivation.compute(tables, evaluate)
            evaluate.write(name, tables[name])
        summaries.append(folder / "summary.csv")
    pd.DataFrame({"value": [1.5]}).to_csv("data/toy/copy.csv", index=False)
    _item("memit/fig5_scaling", {"summaries": summaries}, "figures/toy/t.csv")
    _traces(rng)
    return tmp_path


def _item(item: str, inputs: dict, csv: str, **config) -> None:
    """The csv of an item, written by its job."""
    module = load_item(item)
    made = job(f"{ROOT}/workflow/figures/{item}.py", inputs, {"csv": Path(csv)}, {"paper": {}, **config})
    made.write("csv", module.DERIVATION.compute(Tables(inputs), made))


def _traces(rng) -> None:
    prompts = pd.DataFrame(
        [
            ("toy", "main", prompt, "a b c d", "b c", "e", ["a", "b", "c", "d", "e"], 1, 3, 1.0, rng.uniform(0, 0.2))
            for prompt in range(9)
        ],
        columns=schemas.TRACED.schema.names,
    )
    effects = pd.DataFrame(
        [
            ("toy", "main", prompt, site, token, layer, rng.uniform())
            for prompt in range(9)
            for site in ("hidden", "mlp", "attn")
            for token in range(5)
            for layer in range(3)
        ],
        columns=["model", "variant", "prompt_id", "site", "token", "layer", "score"],
    )
    files = {"effects": Path("results/trace/toy/effects.parquet"), "traced": Path("results/trace/toy/prompts.parquet")}
    traced = job(str(ROOT / "workflow/scripts/trace.py"), {}, files, {})
    traced.write("effects", effects)
    traced.write("traced", prompts)
    _item(LINES, files, "figures/toy/f.csv")


def step(number, name: str):
    return next(one for one in number.steps if one.path.name == name)


@pytest.mark.parametrize(
    ("metric", "kinds"),
    [("ES", ["rewrite"]), ("NS", ["neighborhood"]), ("S", ["rewrite", "paraphrase", "neighborhood"])],
)
def test_a_score_is_followed_to_what_the_model_said(repository, metric, kinds):
    number = number_lineage.find(".", f"figures/toy/t.csv:method=memit,after=2,metric={metric},value")
    names = [one.path.name for one in number.steps]
    assert names == ["summary.csv", "records.parquet", "scores.parquet"], "nothing of the other editor"
    assert [one.depth for one in number.steps] == [1, 2, 3] and all("memit" in str(one.path) for one in number.steps)
    assert step(number, "summary.csv").others == 1 and number.again and all(one.again for one in number.steps)
    records = pd.read_parquet("results/evaluate/toy/memit/records.parquet")
    records = records[records["after"] == 2]
    expected = metrics.harmonic(list(records[["ES", "PS", "NS"]].mean())) if metric == "S" else records[metric].mean()
    assert float(number.text) == pytest.approx(100 * expected, rel=1e-5)
    pd.testing.assert_frame_equal(step(number, "records.parquet").rows, records)
    follows = step(number, "summary.csv").follows
    assert follows.startswith(
        "value is 100 x the " + ("harmonic mean" if metric == "S" else f"mean of column {metric}")
    )
    raw = pd.read_parquet("results/edit/toy/memit/scores.parquet")
    expected = raw[(raw["after"] == 2) & raw["kind"].isin(kinds)]
    pd.testing.assert_frame_equal(step(number, "scores.parquet").rows, expected)
    assert step(number, "scores.parquet").follows is None, "a model wrote it"
    assert "likelier" in step(number, "records.parquet").follows


def test_the_relation_of_a_record_is_that_of_its_fact(repository):
    """A cell of a table below the csv: the column that a key of the csv does not name."""
    table = number_lineage.derived(Path("."), Path("results/evaluate/toy/rome/records.parquet"))
    tables = table.derivation.prepared(table.tables(Path(".")), table.job)
    row = pd.read_parquet("results/evaluate/toy/rome/records.parquet").iloc[[7]]
    ((aggregate, own),) = table.derivation.parts(row, "relation_id")
    assert aggregate.rows.behind(own, tables)["case_id"].tolist() == [7]
    assert table.derivation.of_rows(row, tables)["relation_id"].tolist() == ["P2"]


def test_an_effect_of_a_figure(repository):
    number = number_lineage.find(".", f"figures/toy/f.csv:mlp,{CATEGORY},layer=1,indirect_effect")
    effects = pd.read_parquet("results/trace/toy/effects.parquet")
    prompts = pd.read_parquet("results/trace/toy/prompts.parquet")
    expected = effects[(effects["site"] == "mlp") & (effects["layer"] == 1) & (effects["token"] == 2)]
    behind = step(number, "effects.parquet")
    pd.testing.assert_frame_equal(behind.rows, expected)
    assert behind.total == len(effects) and f"category = {CATEGORY}" in behind.filters
    assert len(step(number, "prompts.parquet").rows) == len(prompts)
    assert float(number.text) == pytest.approx(expected["score"].mean() - prompts["corrupted"].mean(), rel=1e-5)
    assert number.again
    assert number.follows == "the mean of column score of effects less the mean of column corrupted of traced"


def test_a_key_shows_the_rows_that_it_chooses(repository):
    number = number_lineage.find(".", f"figures/toy/f.csv:mlp,{CATEGORY},layer=1,layer")
    assert number.follows == "what its row is about: it chooses the rows below" and number.again
    assert set(step(number, "effects.parquet").rows["layer"]) == {1}


def test_a_number_that_does_not_follow_is_said_not_to(repository):
    table = pd.read_csv("figures/toy/t.csv", keep_default_na=False)
    table.loc[table["metric"] == "ES", "value"] = 12.3456
    table.to_csv("figures/toy/t.csv", index=False)
    spec = "figures/toy/t.csv:method=memit,after=2,metric=ES,value"
    number = number_lineage.find(".", spec)
    assert not number.again and all(one.again for one in number.steps)
    text = number_lineage.report(".", number)
    assert "modified" in text.splitlines()[1], "and the file is not what was written"
    assert "NOT TRUE of this file" in text.splitlines()[3] and text.count("NOT TRUE") == 1
    assert " of 360 rows: " in text and "sha256" in text
    way = json.loads(number_lineage.main(".", spec, "json"))
    assert way["again"] is False and way["steps"][0]["rows"] == 1 and len(way["steps"][0]["sha256"]) == 64


def test_a_table_on_the_way_that_does_not_follow_is_said_not_to(repository):
    path = Path("results/evaluate/toy/memit/records.parquet")
    records = pd.read_parquet(path)
    records.assign(ES=1 - records["ES"]).to_parquet(path)
    number = number_lineage.find(".", "figures/toy/t.csv:method=memit,after=2,metric=ES,value")
    assert number.again, "the csv still has what the summary has"
    assert [one.again for one in number.steps] == [False, False, True], "of other records, of other scores"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("figures/toy/t.csv:99,value", "no row 99; there are 16, counted from 1"),
        ("figures/toy/t.csv:1,nothing", "no column 'nothing'"),
        ("figures/toy/t.csv:rome,value", "8 rows have rome"),
        ("figures/toy/t.csv:colour=red,metric=ES,value", "no column 'colour'"),
        ("figures/toy/t.csv", "right is figures/….csv:row,column"),
        ("figures/toy/t.csv:0,value", "no row 0"),
        ("data/toy/copy.csv:1,value", "not computed from tables"),
    ],
)
def test_what_is_no_number(repository, spec, words):
    with pytest.raises(ValueError, match=words):
        number_lineage.find(".", spec)
