"""Every paper item through its command line, from fake tables: files, complete csv, same bytes, nothing clipped."""

import ast
import itertools
import json
import os
import subprocess
import sys

import matplotlib.text
import numpy as np
import pandas as pd
import pytest

from engram import lineage
from engram.effects import average_effects

AWKWARD = ["The", " mother", " tongue", " of", " Supercalifragilisticexpialidocious", " von", " Wittgen", "stein",
           "-Hohen", "zollern", " 東京", "\n", " costs $x_{", " widely spoken in the", " language"]
WORLDS = {  # name: (layers, window, model, shape of the prompts)
    "mini": (8, 2, "mini", {}),
    "shallow-single-token-subject": (6, 1, "cf500", {"subject": 1, "before": 0, "after": 2}),
    "deep-long-tokens": (48, 10, "gpt2-xl", {"subject": 6, "before": 4, "words": AWKWARD}),
    "deep-three-tokens": (44, 10, "gpt-neox-20b", {"subject": 1, "before": 0, "after": 2, "answer": " Antidisestabli"}),
}


def drawn_texts(fig, monkeypatch) -> list:
    """(string, extent) of every text that reaches the canvas."""
    seen, draw = [], matplotlib.text.Text.draw

    def recording(self, renderer, *args, **kwargs):
        if self.get_visible() and self.get_text().strip():
            seen.append((self.get_text(), self.get_window_extent(renderer)))
        return draw(self, renderer, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(matplotlib.text.Text, "draw", recording)
        fig.draw_without_rendering()
    return seen


def assert_readable(fig, monkeypatch):
    """All text inside the page, no two texts on each other, nothing under 7 pt."""
    texts = drawn_texts(fig, monkeypatch)
    assert texts
    width, height = fig.bbox.size
    for text, box in texts:
        inside = box.x0 >= -0.5 and box.y0 >= -0.5 and box.x1 <= width + 0.5 and box.y1 <= height + 0.5
        assert inside, f"{text!r} leaves the page: {box} of {width} x {height}"
    for (one, a), (other, b) in itertools.combinations(texts, 2):
        overlap = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        # Line boxes hold room for accents and descenders: only overlap beyond that is two texts on each other.
        assert overlap[0] < 2 or overlap[1] < 6, f"{one!r} and {other!r} overlap by {overlap} pixels"
    assert min(text.get_fontsize() for text in fig.findobj(matplotlib.text.Text)) >= 7


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
    code = ("import json, runpy, sys\nfor path, argv in json.loads(sys.argv[1]).items():\n"
            "    runpy.run_path(path)['main'](argv)\nassert 'torch' not in sys.modules, 'a figure imported torch'")
    subprocess.run([sys.executable, "-c", code, json.dumps(moved)], check=True,
                   env={**os.environ, "PYTHONHASHSEED": "1", "MPLBACKEND": "pdf"})
    first = sorted(path for path in drawn.made.glob("*.*") if path.is_file())
    assert len(first) == 14
    for path, other in itertools.product(first, ("out", "elsewhere")):
        if other == "out" and path.stem not in repeated:
            continue
        assert (runner.folder / other / "rome" / path.name).read_bytes() == path.read_bytes(), (other, path.name)


def test_no_item_imports_torch(fakes):
    for path in fakes.figures.glob("*.py"):
        assert "torch" not in {word for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                               if isinstance(node, (ast.Import, ast.ImportFrom))
                               for word in [getattr(node, "module", None), *(a.name for a in node.names)]}, path


@pytest.mark.parametrize("world", WORLDS)
def test_trace_figures_are_readable(world, fakes, monkeypatch):
    layers, window, model, shape = WORLDS[world]
    traced = fakes.traced(6, **shape)
    effects = fakes.effects(traced, layers)
    fig1, fig2, fig7 = (fakes.load(name) for name in ("fig1_trace_example", "fig2_average_traces", "fig7_lines"))
    assert_readable(fig1.draw(fig1.table(effects, fig1.choose(traced), model), window), monkeypatch)
    assert_readable(fig2.draw(fig2.table(effects, traced, model), window), monkeypatch)
    assert_readable(fig7.draw(fig7.table(effects, traced, model), window, len(traced)), monkeypatch)


def test_generations_are_readable(fakes, monkeypatch):
    fig6, facts = fakes.load("fig6_generations"), fakes.facts()
    texts = pd.concat([fakes.texts(facts, "none", 300), fakes.texts(facts, "rome", 60)])
    texts.loc[texts["case_id"] == 10, "text"] = "x" * 400
    assert_readable(fig6.draw(fig6.table(facts, texts, "mini", 3)), monkeypatch)


def test_pdf_embeds_truetype_of_the_bundled_font_only(drawn):
    for path in drawn.made.glob("*.pdf"):
        data = path.read_bytes()
        assert b"/FontFile2" in data and b"/Type3" not in data and b"/CreationDate" not in data
        assert b"DejaVu" in data


def test_fig1_csv_holds_each_cell_of_the_chosen_prompt(drawn, fakes):
    cells = pd.read_csv(drawn.made / "fig1_trace_example.csv", keep_default_na=False)
    traced = fakes.traced()
    row = fakes.load("fig1_trace_example").choose(traced)
    assert len(cells) == 3 * len(row["tokens"]) * 8
    assert list(cells.loc[cells["in_subject"], "text"].unique()) == [" Name0", " Name1", " Name2"]
    effects = fakes.effects(traced)
    expected = effects[effects["prompt_id"] == row["prompt_id"]].set_index(["site", "token", "layer"])["score"]
    found = cells.set_index(["site", "token", "layer"])["score"]
    np.testing.assert_allclose(found.sort_index(), expected.sort_index(), rtol=1e-5)
    assert cells["corrupted"].iloc[0] == pytest.approx(row["corrupted"], rel=1e-5)


def test_fig1_chooses_the_median_effect_or_the_prompt_asked_for(fakes):
    fig1, traced = fakes.load("fig1_trace_example"), fakes.traced(5)
    traced["clean"] = [0.9, 0.5, 0.7, 0.6, 0.8]
    traced["corrupted"] = 0.1
    assert fig1.choose(traced)["prompt_id"] == 2
    traced.loc[2, "subject_begin"] = 3  # a subject of one token does not show the sites: not a candidate
    assert fig1.choose(traced)["prompt_id"] == 3
    assert fig1.choose(traced, 4)["prompt_id"] == 4
    with pytest.raises(ValueError, match="prompt_id 99 was not traced"):
        fig1.choose(traced, 99)


def test_fig1_refuses_incomplete_effects(fakes):
    fig1, traced = fakes.load("fig1_trace_example"), fakes.traced(3)
    effects = fakes.effects(traced)
    row = fig1.choose(traced)
    gone = effects[(effects["prompt_id"] == row["prompt_id"]) & (effects["site"] == "mlp")].index[0]
    with pytest.raises(ValueError, match="site mlp: 55 rows"):
        fig1.table(effects.drop(index=gone), row, "mini")


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
        expected = average_effects(effects, traced, site)
        np.testing.assert_allclose(cells.loc[cells["site"] == site, "value"].astype(float), expected["indirect_effect"],
                                   rtol=1e-4, atol=1e-9)


def test_fig2_panels_share_the_scale_of_the_hidden_states(fakes):
    fig2, traced = fakes.load("fig2_average_traces"), fakes.traced()
    frame = fig2.table(fakes.effects(traced), traced, "mini")
    meshes = [ax.collections[0] for ax in fig2.draw(frame, 2).axes if ax.get_title()]
    top = frame.loc[(frame["site"] == "hidden") & (frame["quantity"] == "indirect_effect"), "value"].max()
    assert [mesh.get_clim() for mesh in meshes] == [(0, top)] * 3
    assert [mesh.cmap.name for mesh in meshes] == ["Purples", "Greens", "Reds"]


def test_fig7_csv_holds_each_point_and_its_interval(drawn):
    frame = pd.read_csv(drawn.made / "fig7_lines.csv")
    assert len(frame) == 3 * 6 * 8
    np.testing.assert_allclose(frame["ci"], 1.96 * frame["std"] / np.sqrt(frame["count"]), rtol=1e-4)


def test_fig6_csv_keeps_the_texts_as_they_are(drawn, fakes):
    frame = pd.read_csv(drawn.made / "fig6_generations.csv", keep_default_na=False)
    assert list(frame["case_id"]) == [10, 10, 12, 12, 14, 14]  # the first record of each relation
    assert list(frame["method"]) == ["none", "rome"] * 3
    facts = fakes.facts()
    expected = fakes.texts(facts, "none").set_index(["case_id", "prompt_index"]).loc[(10, 0), "text"]
    assert frame["text"].iloc[0] == expected and "\n" in expected and "\r" in expected


def test_fig6_fills_up_with_further_records_and_says_when_there_are_too_few(fakes):
    fig6, facts = fakes.load("fig6_generations"), fakes.facts()
    assert fig6.choose(facts, facts["case_id"], 4) == [10, 12, 14, 11]
    with pytest.raises(ValueError, match="3 cases wanted, 2 have texts"):
        fig6.choose(facts, [10, 11], 3)
    texts = fakes.texts(facts, "none")
    with pytest.raises(ValueError, match="occur twice"):
        fig6.table(facts, pd.concat([texts, texts]), "mini", 1)


def test_unknown_paper_keys_are_refused(runner):
    with pytest.raises(ValueError, match=r"rome/fig6_generations.*case.*known keys are \['cases'\]"):
        runner.run("fig6_generations", case=3)


def test_table4_rows_and_cells(drawn):
    lines = (drawn.made / "table4_counterfact.md").read_text().splitlines()
    assert lines[0] == "| Editor | S | ES | EM | PS | PM | NS | NM | GE | RS |"
    assert lines[2].startswith("| Unedited (mini) | 20.0 | 21.0 (0.5) |")
    assert lines[3].startswith("| ROME | 90.0 | 91.0 (0.5) |")
    assert lines[5].startswith("Records: 200.")
    frame = pd.read_csv(drawn.made / "table4_counterfact.csv")
    assert list(frame["method"]) == ["none"] * 9 + ["rome"] * 9


def test_table4_names_what_is_missing_or_doubled(fakes):
    table4, rome = fakes.load("table4_counterfact"), fakes.summary("rome")
    with pytest.raises(ValueError, match=r"method rome: metrics \['GE'\] are missing"):
        table4.table([rome[rome["metric"] != "GE"]])
    with pytest.raises(ValueError, match="occur twice"):
        table4.table([rome, rome])
