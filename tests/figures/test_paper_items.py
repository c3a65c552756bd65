"""Every paper item through its command line, from fake tables: files, complete csv, same bytes, nothing clipped."""

import ast
import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from engram.drawing import text_samples
from engram.evaluation.derivation import Tables
from engram.evaluation.indirect_effects import averages
from engram.evaluation.metrics import NO_JOB
from engram.job import lineage
from fake_tables import numbers_of
from readable import assert_readable


def test_items_write_their_files_and_records(drawn, fakes):
    for item in fakes.items:
        suffixes = {".csv", ".md"} if item.startswith("table") else {".pdf", ".png", ".csv"}
        assert {path.suffix for path in drawn.made.glob(f"{item}.*")} == suffixes
        for suffix in suffixes:
            record = json.loads(lineage.record_path(drawn.made / f"{item}{suffix}").read_text())
            assert record["keys"] == {"model": "mini"} and record["stage"] == item


def test_bytes_are_the_same_again_and_in_another_process(drawn, runner, fakes):
    repeated = ("fig2_average_traces", "fig6_generations", "table4_counterfact")
    for item in repeated:
        runner.run(item)
    moved = {str(fakes.figures / f"{item}.py"): runner.argv(item, out="elsewhere") for item in fakes.items}
    code = (
        "import json, runpy, sys\nfor path, argv in json.loads(sys.argv[1]).items():\n"
        "    runpy.run_path(path)['main'](argv)\nassert 'torch' not in sys.modules, 'a figure imported torch'"
    )
    subprocess.run(
        [sys.executable, "-c", code, json.dumps(moved)],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "1", "MPLBACKEND": "pdf"},
    )
    first = sorted(path for path in drawn.made.glob("*.*") if path.is_file())
    assert len(first) == 17 * 3 + 2 * 2
    for path, other in itertools.product(first, ("out", "elsewhere")):
        if other == "out" and path.stem not in repeated:
            continue
        assert (runner.folder / other / "rome" / path.name).read_bytes() == path.read_bytes(), (other, path.name)


def test_no_item_imports_torch(fakes):
    for path in fakes.figures.glob("*.py"):
        assert "torch" not in {
            word
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for word in [getattr(node, "module", None), *(a.name for a in node.names)]
        }, path


def test_generations_are_readable(fakes, monkeypatch):
    fig6, facts = fakes.load("fig6_generations"), fakes.facts()
    texts = pd.concat([fakes.texts(facts, "none", 300), fakes.texts(facts, "rome", 60)])
    texts.loc[texts["case_id"] == 10, "text"] = "x" * 400
    assert_readable(fig6.draw(numbers_of(fig6, {"facts": facts, "texts": texts})), monkeypatch)


def test_pdf_embeds_truetype_of_the_bundled_font_only(drawn):
    for path in drawn.made.glob("*.pdf"):
        data = path.read_bytes()
        assert b"/FontFile2" in data and b"/Type3" not in data and b"/CreationDate" not in data
        assert b"DejaVu" in data


def test_fig2_csv_holds_the_cells_and_the_scalars(drawn, fakes):
    frame = pd.read_csv(drawn.made / "fig2_average_traces.csv", keep_default_na=False)
    traced = fakes.traced()
    effects = fakes.effects(traced)
    value = frame[frame["category"] == ""].set_index(["quantity", "site"])["value"].astype(float)
    assert value["prompts", "mlp"] == len(traced)
    assert value["clean", "hidden"] == pytest.approx(traced["clean"].mean(), rel=1e-5)
    total = (traced["clean"] - traced["corrupted"]).mean()
    assert value["average_total_effect", "attn"] == pytest.approx(total, rel=1e-5)
    best = effects[effects["site"] == "mlp"].groupby("prompt_id")["score"].max().mean()
    assert value["best score: any token", "mlp"] == pytest.approx(best, rel=1e-5)
    cells = frame[frame["quantity"] == "indirect_effect"]
    for site in ("hidden", "mlp", "attn"):
        expected = averages((site,)).compute(Tables.of(effects=effects, traced=traced), NO_JOB)
        np.testing.assert_allclose(
            cells.loc[cells["site"] == site, "value"].astype(float), expected["indirect_effect"], rtol=1e-4, atol=1e-9
        )


def test_fig2_panels_share_the_scale_of_the_hidden_states(fakes):
    fig2, traced = fakes.load("fig2_average_traces"), fakes.traced()
    frame = numbers_of(fig2, {"effects": fakes.effects(traced), "traced": traced})
    meshes = [ax.collections[0] for ax in fig2.draw(frame, 2).axes if ax.get_title()]
    top = frame.loc[(frame["site"] == "hidden") & (frame["quantity"] == "indirect_effect"), "value"].max()
    assert [mesh.get_clim() for mesh in meshes] == [(0, top)] * 3
    assert [mesh.cmap.name for mesh in meshes] == ["Purples", "Greens", "Reds"]


def test_fig6_csv_keeps_the_texts_as_they_are(drawn, fakes):
    frame = pd.read_csv(drawn.made / "fig6_generations.csv", keep_default_na=False)
    assert list(frame["case_id"]) == [10, 10, 12, 12, 14, 14]  # the first record of each relation
    assert list(frame["method"]) == ["none", "rome"] * 3
    facts = fakes.facts()
    expected = fakes.texts(facts, "none").set_index(["case_id", "prompt_index"]).loc[(10, 0), "text"]
    assert frame["text"].iloc[0] == expected and "\n" in expected and "\r" in expected


def test_fig6_fills_up_with_further_records_and_says_when_there_are_too_few(fakes):
    facts, named = fakes.facts(), text_samples.Settings(case_ids={"mini": (13, 10), "other": (99,)})
    assert text_samples.choose(facts, facts["case_id"], text_samples.Settings(4), "mini") == [10, 12, 14, 11]
    assert text_samples.choose(facts, facts["case_id"], named, "mini") == [13, 10]
    with pytest.raises(ValueError, match="3 cases wanted, 2 have texts"):
        text_samples.choose(facts, [10, 11], text_samples.Settings(), "mini")
    with pytest.raises(ValueError, match=r"case_ids.mini: \[13\] have no texts of every method"):
        text_samples.choose(facts, [10, 11], named, "mini")
    texts = fakes.texts(facts, "none")
    with pytest.raises(ValueError, match="occur twice"):
        numbers_of(fakes.load("fig6_generations"), {"facts": facts, "texts": pd.concat([texts, texts.assign(n=10)])})


def test_unknown_paper_keys_are_refused(runner):
    with pytest.raises(ValueError, match="rome/fig6_generations: case: Unexpected keyword argument"):
        runner.run("fig6_generations", case=3)


def test_table4_rows_and_cells(drawn):
    lines = (drawn.made / "table4_counterfact.md").read_text().splitlines()
    assert lines[0] == "| Editor | S | ES | EM | PS | PM | NS | NM | GE | RS |"
    assert lines[2].startswith("| Unedited (mini) | 20.0 | 21.0 (0.5) |")
    assert lines[3].startswith("| ROME | 90.0 | 91.0 (0.5) |")
    assert lines[5].startswith("Records: 200.")
    frame = pd.read_csv(drawn.made / "table4_counterfact.csv")
    assert list(frame["method"]) == ["none"] * 9 + ["rome"] * 9


def test_table1_rows_and_cells(drawn):
    lines = (drawn.made / "table1_zsre.md").read_text().splitlines()
    assert lines[0] == "| Editor | Efficacy | Paraphrase | Specificity |"
    assert lines[3] == "| ROME | 99.0 (0.5) | 100.0 (0.5) | 101.0 (0.5) |"


def of_editors(module, *summaries):
    return numbers_of(module, {"summaries": pd.concat(summaries, ignore_index=True)})


def test_table4_says_whose_texts_are_fewer(fakes):
    table4, rome, none = fakes.load("table4_counterfact"), fakes.summary("rome"), fakes.summary("none")
    few = rome.assign(count=rome["count"].where(~rome["metric"].isin(["GE", "RS"]), 5))
    assert "Records: 200. GE and RS: ROME 5. In parentheses" in table4.draw(of_editors(table4, few, none))
    assert "GE and RS:" not in table4.draw(of_editors(table4, rome, none))


def test_table4_names_what_is_missing_or_doubled(fakes):
    table4, rome = fakes.load("table4_counterfact"), fakes.summary("rome")
    with pytest.raises(ValueError, match=r"method rome: metrics \['GE'\] are missing"):
        of_editors(table4, rome[rome["metric"] != "GE"])
    for other in (rome, rome.assign(n=10), rome.assign(after=10)):
        with pytest.raises(ValueError, match="occur twice"):
            of_editors(table4, rome.assign(after=1), other)
