"""Scores by relation, and edit norms against success, drawn from small fake tables through the command line of their
items.
"""

import json

import numpy as np
import pandas as pd
import pytest

from engram.drawing import style
from fake_tables import load_item, numbers_of, write
from readable import assert_readable

KEYS = {"model": "mini", "dataset": "counterfact", "n": 1}
METHODS = ("ft-l", "mend-cf", "rome", "r-rome", "memit")


def records(method, cases=12, relations=3, texts=12):
    """Metrics of single edits, by chance; of the first `texts` records there are texts."""
    rng = np.random.default_rng(sum(map(ord, method)))
    rows = {
        "relation_id": [f"P{case % relations}" for case in range(cases)],
        "after": 1,
        "case_id": range(cases),
        **{name: rng.integers(0, 2, cases).astype(float) for name in ("ES", "EA", "PA", "NA")},
        **{name: rng.random(cases) for name in ("PS", "NS")},
        **{name: rng.uniform(-1, 1, cases) for name in ("EM", "PM", "NM")},
    }
    texts = [6.2 if case < texts else np.nan for case in range(cases)]
    return pd.DataFrame(rows).assign(GE=texts, RS=[value / 10 for value in texts], method=method, **KEYS)


def norms(method, cases=12, layers=(3, 4)):
    rows = [
        {
            "after": 1,
            "case_id": case,
            "layer": layer,
            "weight": f"h.{layer}",
            "delta_norm": 0.5 * (case + 1),
            "weight_norm": 10.0,
        }
        for case in range(cases)
        for layer in (layers if method == "memit" else layers[:1])
    ]
    return pd.DataFrame(rows).assign(method=method, **KEYS)


def run(item, fakes, folder, **inputs):
    """The files of an item, and its figure; `inputs`: flag -> tables."""
    module, figures, flags = load_item(item), [], []
    module.draw = lambda frame, real=module.draw: figures.append(real(frame)) or figures[0]
    for flag, tables in inputs.items():
        paths = [folder / f"{flag}-{index}.parquet" for index in range(len(tables))]
        for path, frame in zip(paths, tables):
            write(path, frame, flag)
        flags += [f"--{flag}", *map(str, paths)]
    out = {suffix: folder / f"{item}.{suffix}" for suffix in ("pdf", "png", "csv")}
    flags += [str(word) for suffix, path in out.items() for word in (f"--{suffix}", path)]
    module.main([*flags, "--model", "mini", "--config", json.dumps({"seed": 0, "model": {"name": "mini"}})])
    return out, figures[0]


def inputs(item, **sizes):
    found = {"records": [records(method, **sizes) for method in METHODS]}
    return found if item == "beyond/relations" else {"norms": [norms(method) for method in METHODS], **found}


@pytest.mark.parametrize("item", ["beyond/relations", "beyond/edit_norms"])
def test_pictures_can_be_read_and_are_the_same_again(item, fakes, tmp_path, monkeypatch):
    files, figure = run(item, fakes, tmp_path / "a", **inputs(item))
    assert_readable(figure, monkeypatch)
    again, _ = run(item, fakes, tmp_path / "b", **inputs(item))
    assert all(path.read_bytes() == again[suffix].read_bytes() for suffix, path in files.items())


def test_many_relations_have_room(fakes, tmp_path, monkeypatch):
    tables = inputs("beyond/relations", cases=68, relations=34)
    assert_readable(run("beyond/relations", fakes, tmp_path, **tables)[1], monkeypatch)


def test_scores_of_a_relation_are_those_of_its_records(fakes, tmp_path):
    """Of every editor and relation, by hand: means, their interval, the harmonic mean."""
    frame = pd.read_csv(run("beyond/relations", fakes, tmp_path, **inputs("beyond/relations"))[0]["csv"])
    assert len(frame) == len(METHODS) * 3 * 4 and set(frame["count"]) == {4}
    found = frame.set_index(["method", "relations", "metric"])
    for method in METHODS:
        for relation, rows in records(method).groupby("relation_id"):
            means = rows[["ES", "PS", "NS"]].mean()
            assert found.loc[(method, relation, "PS"), "value"] == pytest.approx(100 * means["PS"], rel=1e-5)
            assert found.loc[(method, relation, "NS"), "ci"] == pytest.approx(
                196 * rows["NS"].std(ddof=0) / 2, rel=1e-5
            )
            score = 0 if means.min() == 0 else 300 / (1 / means).sum()
            assert found.loc[(method, relation, "S"), "value"] == pytest.approx(score, rel=1e-5)
    of_last = frame[(frame["metric"] == "S") & (frame["method"] == "memit")]["value"]
    assert of_last.is_monotonic_decreasing, "relations in the order of the last editor"


def test_norms_are_shares_of_the_weights_that_change(fakes, tmp_path):
    """One layer: the share; MEMIT's two layers of equal norm: sqrt(2) delta over sqrt(2) weight, the same share."""
    files, figure = run(
        "beyond/edit_norms",
        fakes,
        tmp_path,
        norms=[norms("rome"), norms("memit", layers=(3, 5))],
        records=[records("rome", texts=5), records("memit")],
    )
    frame = pd.read_csv(files["csv"])
    expected = [0.05 * (case + 1) for case in range(12)]
    for method in ("rome", "memit"):
        rows = frame[frame["method"] == method]
        assert rows["norm"].tolist() == pytest.approx(expected) and rows["case_id"].tolist() == list(range(12))
        assert rows["NM"].tolist() == pytest.approx(list(100 * records(method)["NM"]), rel=1e-4)
    assert frame[frame["method"] == "rome"]["GE"].notna().sum() == 5
    shown = {ax.get_title(): [len(part.get_offsets()) for part in ax.collections] for ax in figure.axes}
    assert shown == {"Efficacy (EM)": [12, 12], "Neighbours (NM)": [12, 12], "Entropy of texts (GE)": [5, 12]}


def test_unequal_layers_add_as_squares(fakes):
    two = norms("memit", cases=1).assign(delta_norm=[3.0, 4.0], weight_norm=[6.0, 8.0])
    frame = numbers_of(load_item("beyond/edit_norms"), {"norms": two, "records": records("memit").head(1)})
    assert frame["norm"].tolist() == pytest.approx([0.5])


def test_edits_that_change_nothing_are_counted(fakes, tmp_path):
    still = norms("ft-l").assign(delta_norm=lambda rows: rows["delta_norm"].where(rows["case_id"] > 2, 0.0))
    files, figure = run("beyond/edit_norms", fakes, tmp_path, norms=[still], records=[records("ft-l")])
    assert "without the 3 edits that change nothing" in figure.get_supxlabel()
    assert (pd.read_csv(files["csv"])["norm"] == 0).sum() == 3


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0.03, 1.1, [0.05, 0.1, 0.2, 0.5, 1]), (0.51, 0.52, [0.52]), (1e-4, 10.5, [1e-4, 1e-3, 1e-2, 0.1, 1, 10])],
)
def test_ticks_of_a_logarithmic_axis_are_round(low, high, ticks):
    assert style.log_places(pd.Series([low, high])) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("item", "more", "says"),
    [
        ("beyond/relations", {"records": [records("rome").assign(n=100)]}, "rome, n 100: right is 1, each fact alone"),
        (
            "beyond/edit_norms",
            {"norms": [norms("rome")], "records": [records("rome").assign(n=100)]},
            "right is 1, each fact alone",
        ),
        (
            "beyond/edit_norms",
            {"norms": [norms("rome", cases=5)], "records": [records("rome")]},
            "has no norm, or no metrics",
        ),
        (
            "beyond/edit_norms",
            {"norms": [norms("rome").assign(delta_norm=0.0)], "records": [records("rome")]},
            "no edit changes any",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said(item, more, says, fakes, tmp_path):
    with pytest.raises(ValueError, match=says):
        run(item, fakes, tmp_path, **more)


def drift(method, n, after, models=4, level=2.0, passages=5):
    rng = np.random.default_rng(after)
    rows = [
        {
            "after": after,
            "case_id": case,
            "passage_id": passage,
            "nll": level + 0.1 * rng.random(),
            "nll_before": 2.0,
            "tokens": 40 - passage,
        }
        for case in range(models)
        for passage in range(passages)
    ]
    return pd.DataFrame(rows).assign(method=method, **KEYS | {"n": n})


MANY = [
    drift("none", "1", 1, 1),
    drift("rome", "1", 1),
    drift("memit", "1", 1),
    drift("kn", "1", 1, level=9.0),
    drift("memit", "100", 100, 1, 3.0),
    drift("memit", "1000", 1000, 1, 4.0),
    pd.concat([drift("rome", "1000by1", after, 1, 2 + after / 200) for after in (1, 10, 100, 1000)]),
    *(drift(method, "1", 1) for method in ("ft", "ft-l", "mend", "mend-cf", "ke-cf", "pmet")),
]


@pytest.mark.parametrize(("tables", "panels"), [(MANY, 2), (MANY[:4], 1)])
def test_drift_can_be_read_and_is_the_same_again(tables, panels, fakes, tmp_path, monkeypatch):
    files, figure = run("beyond/perplexity", fakes, tmp_path / "a", drift=tables)
    assert_readable(figure, monkeypatch)
    again, _ = run("beyond/perplexity", fakes, tmp_path / "b", drift=tables)
    assert len(figure.axes) == panels and all(
        path.read_bytes() == again[name].read_bytes() for name, path in files.items()
    )
    frame = pd.read_csv(files["csv"], dtype={"n": str})
    assert not frame.duplicated(["method", "after"]).any() and frame[
        (frame["method"] == "rome") & (frame["after"] == 1)
    ][["n", "models"]].values.tolist() == [["1", 4]], "single edits, not the first of those in turn"


def test_perplexity_of_one_model_has_the_interval_of_its_passages(fakes, tmp_path):
    frame = pd.read_csv(run("beyond/perplexity", fakes, tmp_path, drift=MANY)[0]["csv"]).set_index(["method", "after"])
    raw = MANY[5]
    row, mean = frame.loc[("memit", 1000)], np.average(raw["nll"], weights=raw["tokens"])
    width = 1.96 * (raw["nll"] - raw["nll_before"]).std(ddof=0) / 5**0.5
    assert (row["perplexity"], row["high"], row["unedited"]) == pytest.approx(
        (np.exp(mean), np.exp(mean + width), np.exp(2)), rel=1e-5
    )


def test_no_passages_are_no_figure(fakes, tmp_path):
    with pytest.raises(ValueError, match=r"right is edit.perplexity.passages above 0"):
        run("beyond/perplexity", fakes, tmp_path, drift=[MANY[0][:0]])


def asked(method):
    return records(method).assign(VS=[1.0, 0.0, np.nan] * 4, VM=[0.5, -0.5, np.nan] * 4)


def turned():
    return pd.DataFrame({"case_id": range(12), "prompt": ["{} was born in", "The capital of {} is"] * 6})


def test_reverse_questions_can_be_read_and_are_counted(fakes, tmp_path, monkeypatch):
    tables = [asked(method) for method in ("none", "ft", "ft-l", *METHODS[1:], "pmet", "emmet", "alphaedit")]
    files, figure = run("beyond/reverse", fakes, tmp_path, facts=[turned()], records=tables)
    assert_readable(figure, monkeypatch)
    frame = pd.read_csv(files["csv"]).query("method == 'rome' and metric == 'success'").set_index("kind")
    assert frame["count"].to_dict() == {
        "rewrite": 12,
        "paraphrase": 12,
        "reverse": 8,
        "relation first": 4,
        "subject first": 4,
    }
    assert frame.loc["reverse", "value"] == 50 and frame.loc["rewrite", "value"] == pytest.approx(
        100 * records("rome")["ES"].mean(), rel=1e-5
    )
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["as edited (12)", "paraphrased (12)", "reverse, relation first (4)", "reverse, subject first (4)"]
    with pytest.raises(ValueError, match="rome, n 1: right is 1, each fact alone, with reverse questions"):
        run("beyond/reverse", fakes, tmp_path, facts=[turned()], records=[records("rome")])
