"""Items with one picture of their own: gradients, texts of several editors, single records, spreads, tracing against
editing.
"""

import json

import numpy as np
import pandas as pd
import pytest

from engram.drawing import layer_comparison, style
from fake_tables import fake_summary_at, load_item, numbers_of, write
from readable import AWKWARD, assert_readable, contrast


def csv(drawn, item):
    return pd.read_csv(drawn.made / f"{item}.csv", keep_default_na=False)


def test_fig16_holds_each_attribution_and_its_colours_are_symmetric(drawn, fakes, monkeypatch):
    frame, traced = csv(drawn, "fig16_gradients"), fakes.traced()
    given = fakes.gradients(traced)
    assert len(frame) == len(given) == 8 * 3 * 8 * 7
    wanted = {(row.prompt_id, row.site, row.token, row.layer): row for row in given.itertuples()}
    for row in frame.itertuples():
        one = wanted[row.prompt_id, row.site, row.token, row.layer]
        assert (row.attribution, row.baseline) == pytest.approx((one.attribution, one.baseline), rel=1e-4)
        assert row.text == traced["tokens"].iloc[0][row.token]
    sums = frame.groupby(["prompt_id", "site", "layer"]).agg(
        {"attribution": "sum", "baseline": "first", "clean": "first"}
    )
    assert (sums["clean"] - sums["baseline"] - sums["attribution"]).abs().max() < 1e-4, (
        "a layer's tokens sum to what it changes"
    )
    fig16 = fakes.load("fig16_gradients")
    few = traced.head(3).drop(columns="variant")
    fig = fig16.draw(numbers_of(fig16, {"attributions": fakes.gradients(few), "attributed": few}))
    assert_readable(fig, monkeypatch)
    largest = fakes.gradients(few).query("prompt_id == 0 and site == 'mlp'")["attribution"].abs().max()
    limits = [ax.collections[0].get_clim() for ax in fig.axes if ax.collections]
    assert limits[1] == pytest.approx((-largest, largest)), "second panel of the first row"


def test_texts_of_all_editors_stand_below_each_other(drawn, fakes, monkeypatch):
    frame = csv(drawn, "fig19_generations")
    assert list(frame["method"]) == ["none", "rome"] * 3 and list(frame["case_id"]) == [10, 10, 12, 12, 14, 14]
    facts = fakes.facts()
    expected = fakes.texts(facts, "rome").set_index(["case_id", "prompt_index"]).loc[(12, 0), "text"]
    assert frame["text"].iloc[3] == expected, "whole, though the picture ends after two lines"
    methods = ["none", "ft-l-tf", "ke-zsre", "mend", "rome"]
    texts = pd.concat([fakes.texts(facts, method, 90) for method in methods])
    for item, most in (("fig19_generations", 2), ("fig25_attn_edit_generations", 4)):
        module = fakes.load(item)
        fig = module.draw(numbers_of(module, {"facts": facts, "texts": texts}, paper={"cases": 2}))
        assert_readable(fig, monkeypatch)
        ends = [text.get_text() for text in fig.texts if text.get_text().endswith("…")]
        assert len(ends) == 2 * len(methods)
        labels = {text.get_text(): text.get_position()[1] for text in fig.texts if text.get_position()[0] < 0.05}
        assert list(labels)[:3] == ["Edit", "Rewrite prompt", "Unedited"] and "FT+L, teacher-forced" in labels
        step = (labels["KE-zsRE"] - labels["MEND"]) * fig.get_figheight() * 72
        assert step == pytest.approx(most * 7 * 1.35 + 0.04 * 72, abs=0.1), f"{most} lines and a step"


@pytest.mark.parametrize(("item", "table"), [("fig21_counterfact_record", "facts"), ("fig22_zsre_record", "zsre")])
def test_a_record_is_shown_whole(item, table, drawn, fakes, monkeypatch):
    rows, module = getattr(fakes, table)(), fakes.load(item)
    frame, first = csv(drawn, item), rows.iloc[0]
    for column in rows.columns.difference(["case_id", "target_new_id", "target_true_id"]):
        value = first[column]
        assert list(frame.loc[frame["column"] == column, "text"]) == (
            [value] if isinstance(value, str) else list(value)
        ), column
    second = {"case_ids": {"mini": [int(rows["case_id"].iloc[1])]}}
    shown = numbers_of(module, {table: rows}, paper=second)
    assert set(shown["case_id"]) == {rows["case_id"].iloc[1]}
    fig = module.draw(numbers_of(module, {table: rows}))
    assert_readable(fig, monkeypatch)
    drawn_words = " ".join(text.get_text() for text in fig.texts)
    assert all(style.printable(text) in drawn_words for text in frame["text"] if "Thomas" not in text)
    with pytest.raises(ValueError, match="0 records have the case_id 99; right is one of"):
        numbers_of(module, {table: rows}, paper={"case_ids": {"mini": [99]}})


def test_boxes_are_those_of_the_quartiles(drawn, fakes, monkeypatch):
    frame = csv(drawn, "fig24_attn_edit_metrics")
    assert list(dict.fromkeys(frame["method"])) == ["none", "attn-edit", "rome"]
    for (method, metric), rows in frame.groupby(["method", "metric"]):
        values = 100 * fakes.records(method)[metric].dropna().to_numpy()
        found = rows[rows["quantity"] != "outlier"].set_index("quantity")["value"]
        q1, median, q3 = np.percentile(values, [25, 50, 75])
        inside = values[(values >= q1 - 1.5 * (q3 - q1)) & (values <= q3 + 1.5 * (q3 - q1))]
        wanted = [len(values), inside.min(), q1, median, q3, inside.max()]
        assert found[["count", "low", "q1", "median", "q3", "high"]].tolist() == pytest.approx(wanted, rel=1e-4)
        assert len(rows) - 6 == len(values) - len(inside) == (metric[1] == "M"), (
            "the last record lies beyond, but for texts"
        )
    fig24 = fakes.load("fig24_attn_edit_metrics")
    fig = fig24.draw(frame)
    assert_readable(fig, monkeypatch)
    assert len(fig.axes) == 5 and "N = 21 records" in fig.get_suptitle()
    fewer = fig24.draw(frame[~frame["metric"].isin(["GE", "RS"])])
    assert len(fewer.axes) == 3, "without texts no panels of them"


def test_two_tables_of_one_editor_are_refused(runner, fakes):
    both = pd.concat([fakes.records("rome").assign(n=n) for n in (1, 10)])
    with pytest.raises(ValueError, match="a record occurs twice for one editor"):
        numbers_of(fakes.load("fig24_attn_edit_metrics"), {"records": both})


LAYERS = {f"rome-{layer}": {"layer": layer, "token": "subject_last"} for layer in (0, 2, 3, 5)}
BEYOND = "beyond/tracing_and_editing"


@pytest.fixture
def beyond(fakes, tmp_path):
    """The item run on fake traces and on summaries that fall with the layer: csv, figure, traces."""
    module, traced, figures = load_item(BEYOND), fakes.traced(), []
    module.draw = lambda *args, real=module.draw: figures.append(real(*args)) or figures[0]
    scores = fakes.effects(traced)
    tables = {"effects": scores, "traced": traced}
    for name, frame in tables.items():
        write(tmp_path / f"{name}.parquet", frame, name)
    paths = []
    for slug, layer in [("none", None), *((slug, point["layer"]) for slug, point in LAYERS.items())]:
        summary = fake_summary_at(slug, 1, 1, 5.0 if layer is None else 80.0 - layer**2)
        paths.append(write(tmp_path / f"{slug}.csv", summary, "summaries"))
    out = {suffix: tmp_path / f"out.{suffix}" for suffix in ("pdf", "png", "csv")}
    config = {"seed": 0, "model": {"name": "mini", "trace_window": 2}, "paper": {}, "points": LAYERS, "variants": {}}
    module.main(
        [
            *(str(word) for name in tables for word in (f"--{name}", tmp_path / f"{name}.parquet")),
            "--summaries",
            *map(str, paths),
            *(str(word) for suffix, path in out.items() for word in (f"--{suffix}", path)),
            "--model",
            "mini",
            "--config",
            json.dumps(config),
        ]
    )
    return pd.read_csv(out["csv"]), figures[0], scores, traced


def test_tracing_is_held_against_editing(beyond, monkeypatch):
    """Independently: mean score at token 3, the subject's last, minus the mean corrupted probability; numpy's
    correlation.
    """
    frame, fig, scores, traced = beyond
    at_last = scores[(scores["site"] == "mlp") & (scores["token"] == 3)].groupby("layer")["score"].mean()
    at_last -= traced["corrupted"].mean()
    effect = frame[frame["quantity"] == "effect of mlp"].set_index("layer")["value"]
    assert effect.to_dict() == pytest.approx(at_last.to_dict(), rel=1e-3, abs=1e-6) and len(effect) == 8
    edited = frame[frame["quantity"] == "S"].set_index("layer")["value"]
    assert edited.to_dict() == {layer: 80 - layer**2 for layer in (0, 2, 3, 5)}, "not the unedited model"
    r = np.corrcoef(at_last[[0, 2, 3, 5]], edited)[0, 1]
    assert frame.loc[frame["quantity"] == "correlation of S", "value"].item() == pytest.approx(r, abs=1e-4)
    assert_readable(fig, monkeypatch)
    assert fig.axes[2].get_title() == f"Both, 4 layers: r = {r:.2f}"
    assert {text.get_text() for text in fig.axes[2].texts} == {"0", "2", "3", "5"}


def test_a_sweep_over_other_tokens_is_refused(fakes):
    traced = fakes.traced()
    with pytest.raises(ValueError, match=r"a sweep over token last; right is `token: \[subject_last\]`"):
        numbers_of(
            load_item(BEYOND),
            {"effects": fakes.effects(traced), "traced": traced, "summaries": fake_summary_at("rome-0", 1, 1, 50.0)},
            points={"rome-0": {"layer": 0, "token": "last"}},
        )


def test_every_editor_has_a_look_of_its_own():
    assert set(style.LINES) == set(style.METHODS) - {"none"} and len(style.LINES) == 20
    looks = [*style.LINES.values(), *style.OTHERS]
    assert len({(str(dashes), marker) for _, dashes, marker in looks}) == len(looks), "told apart without colour"
    assert all(contrast(colour) >= 3 for colour, _, _ in looks)
    assert style.method_looks(["rome", "newer", "new"]) == {
        "rome": style.LINES["rome"],
        "new": style.OTHERS[0],
        "newer": style.OTHERS[1],
    }
    assert len(style.method_looks(map(str, range(40)))) == 40, "however many there are"


def test_deep_models_and_awkward_tokens_fit(fakes, monkeypatch):
    traced = fakes.traced(3, subject=4, before=4, words=AWKWARD, answer=" Antidisestabli").assign(model="gpt2-xl")
    fig16, module = fakes.load("fig16_gradients"), load_item(BEYOND)
    few = traced.drop(columns="variant")
    attributions = fakes.gradients(few, 48).assign(model="gpt2-xl")
    fig = fig16.draw(numbers_of(fig16, {"attributions": attributions, "attributed": few}, "gpt2-xl"))
    assert_readable(fig, monkeypatch)
    layers = [0, 5, 10, 13, 15, 17, 20, 25, 30, 35, 40, 47]
    rows = [
        ("gpt2-xl", f"effect of {site}", layer, 0.06 - 0.001 * layer, 0.01, 1000)
        for site in ("hidden", "mlp", "attn")
        for layer in range(48)
    ]
    rows += [("gpt2-xl", metric, layer, 95 - layer / 4, 4.0, 100) for metric in module.METRICS for layer in layers]
    frame = pd.DataFrame(rows, columns=["model", "quantity", "layer", "value", "ci", "count"]).astype(
        {"layer": "Int64"}
    )
    assert_readable(module.draw(frame, 10), monkeypatch)


def test_bars_and_lines_of_sites_stand_out(fakes):
    colours = [look[1] for look in (*style.SEVERED.values(), *layer_comparison.EFFECTS.values())]
    assert all(contrast(colour) >= 3 for colour in [*colours, style.NEW, style.TRUE]), colours


@pytest.mark.parametrize(("colour", "value"), [("white", 1.0), ("black", 21.0), ("#767676", 4.54), ("0.5", 3.95)])
def test_contrast_is_that_of_the_recommendation(colour, value):
    assert contrast(colour) == pytest.approx(value, abs=0.03)
    assert contrast((0, 0, 0, 0.0)) == 1.0, "nothing on white"
