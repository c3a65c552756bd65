"""A declared table: what it computes, and which rows it says are behind a number, against pandas."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from engram.evaluation.derivation import KEY, Choice, Derivation, Rows, Tables, own

EFFECTS = pd.DataFrame(
    [
        (site, layer, prompt, 10 * layer + prompt + (site == "mlp") / 2)
        for site in ("mlp", "attn")
        for layer in (0, 1)
        for prompt in range(3)
    ],
    columns=["site", "layer", "prompt_id", "score"],
)
PROMPTS = pd.DataFrame({"prompt_id": range(3), "corrupted": [0.5, 1.0, 3.0], "prompt": ["a", "b", "c"]})
CELLS = Rows("effects", by=("site", "layer"))
JOB = SimpleNamespace(config={}, keys=SimpleNamespace(), script=None)


def keys(tables, job):
    return tables["effects"][["site", "layer"]].drop_duplicates()


def table(columns, rows=keys, prepare=lambda tables, job: {}, **more):
    return Derivation(columns, rows, prepare).compute(Tables.of(effects=EFFECTS, prompts=PROMPTS, **more), JOB)


def test_aggregates_are_those_of_the_rows_that_agree_with_the_keys():
    effect = 100 * (CELLS.mean("score") - Rows("prompts").mean("corrupted"))
    made = table({"site": KEY, "layer": KEY, "effect": effect, "count": CELLS.count(), "ci": CELLS.half_width("score")})
    assert list(made) == ["site", "layer", "effect", "count", "ci"]
    for row in made.itertuples():
        scores = EFFECTS[(EFFECTS["site"] == row.site) & (EFFECTS["layer"] == row.layer)]["score"]
        assert row.effect == pytest.approx(100 * (scores.mean() - 1.5)) and row.count == 3
        assert row.ci == pytest.approx(1.96 * np.std(scores) / 3**0.5)
    assert effect.words({}) == "100 x the mean of column score of effects less the mean of column corrupted of prompts"


def test_the_rows_behind_a_number_are_those_it_is_computed_from():
    rows, tables = keys({"effects": EFFECTS}, JOB).iloc[[1]], Tables.of(effects=EFFECTS, prompts=PROMPTS)
    number = CELLS.only(prompt_id=(0, 2)).mean("score")
    ((aggregate, of_rows),) = number.parts(rows)
    behind = aggregate.rows.behind(of_rows, tables)
    assert behind.index.tolist() == [3, 5], "mlp, layer 1, prompts 0 and 2"
    assert number.compute(rows, tables).tolist() == [behind["score"].mean()]


def test_a_choice_is_another_number_for_each_value_of_a_key():
    columns = {
        "name": KEY,
        "layer": Choice("name", {"cell": own("layer")}),
        "value": Choice(
            "name",
            {
                "cell": CELLS.mean("score"),
                "peak": Rows("effects", by=("site",)).each(
                    lambda part: part.groupby("layer")["score"].mean().max(), "largest mean", "score", "layer"
                ),
            },
        ),
    }
    places = pd.DataFrame({"name": ["cell", "peak", "other"], "site": "attn", "layer": [0, None, None]})
    made = table(columns, lambda tables, job: places)
    assert made["value"].tolist()[:2] == [1.0, 11.0] and made["value"].isna().tolist() == [False, False, True]
    assert made["layer"].tolist()[0] == 0 and made["layer"].isna().sum() == 2
    parts = Derivation(columns, keys).parts(places.iloc[[1]], "value")
    assert [aggregate.name for aggregate, _ in parts] == ["largest mean"]


def test_cells_of_rows_that_are_doubled_or_missing_are_refused_and_optional_ones_left_out():
    prompt = Rows("prompts", by=("prompt_id",))
    place = pd.DataFrame({"prompt_id": [2, 0]})
    assert table({"text": prompt.cell("prompt")}, lambda tables, job: place)["text"].tolist() == ["c", "a"]
    with pytest.raises(ValueError, match="prompts: no row with prompt_id 7"):
        table({"text": prompt.cell("prompt")}, lambda tables, job: pd.DataFrame({"prompt_id": [7]}))
    doubled = {"prompts": pd.concat([PROMPTS, PROMPTS])}
    with pytest.raises(ValueError, match=r"prompts: prompt_id \[0\] occurs twice"):
        table({"text": prompt.cell("prompt")}, lambda tables, job: place, lambda tables, job: doubled)
    paper = Rows("published", by=("prompt_id",), optional=True)
    assert list(table({"prompt_id": KEY, "there": paper.cell("value")}, lambda tables, job: place)) == ["prompt_id"]
    published = pd.DataFrame({"prompt_id": [2], "value": [1.5]})
    made = table({"there": paper.cell("value")}, lambda tables, job: place, published=published)
    assert made["there"].tolist()[0] == 1.5 and made["there"].isna().tolist() == [False, True]


def test_what_is_read_besides_is_behind_a_number_too():
    scaled = CELLS.apply(
        lambda table, by, prompts: table.groupby(by)["score"].mean() / prompts["corrupted"].max(),
        "mean over the largest corrupted",
        "score",
        also=(Rows("prompts"),),
    )
    assert table({"value": scaled})["value"].tolist()[0] == pytest.approx(1.5 / 3)
    assert [aggregate.rows.table for aggregate, _ in scaled.parts(EFFECTS.head(1))] == ["effects", "prompts"]


def test_files_are_read_when_they_are_asked_for(tmp_path):
    for name, method in (("a", "none"), ("b", "na")):
        pd.DataFrame({"method": [method, "rome"], "value": [1, None]}).to_csv(tmp_path / f"{name}.csv", index=False)
    paths = {"compared": [tmp_path / "a.csv", tmp_path / "b.csv"], "idf": tmp_path / "idf.npy", "texts": None}
    tables = Tables(paths | {"gone": tmp_path / "gone.parquet"}, marked=True)
    assert tables["compared"]["method"].tolist() == ["none", "rome", "na", "rome"], "names, not gaps"
    assert tables["compared"][["_file", "_place"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert "texts" not in tables and "gone" in tables and tables["idf"] == tmp_path / "idf.npy"
    assert "compared" not in tables.with_({"compared": None})
