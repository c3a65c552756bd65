"""What the items of the papers ask for: edits, records, sweeps; and what they ask for in vain."""

import os
from pathlib import Path

import pytest
import yaml

from engram.settings import edits, families, params, sweeps
from engram.settings.fact_groups import FactGroup
from repository import ROOT

SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
ITEM = "rome/table4_counterfact"
METHODS = {
    "none": {},
    "ft": {"records": 30, "mini": {"layer": 0}},
    "rome": {"mini": {"layer": 0, "rate": 0.5}},
    "memit": {"mini": {"layers": [0, 1], "covariance_weight": 10, "steps": 25}},
    "emmet": {"mini": {"family": "memit", "layers": [0, 1], "covariance_weight": 10}},
    "ke": {"mini": {"lr_scale": 1.0}},
    "mend": {"mini": {"lr_scale": 1.0}},
}


def values(**items):
    """The shipped file with METHODS, and other items: specs of edits by name."""
    found = yaml.safe_load(yaml.safe_dump(SHIPPED)) | {"methods": METHODS}
    found["models"]["mini"]["records"]["count"] = 200
    kept = {item: spec for item, spec in found["paper"].items() if spec["from"] == ["trace"]}
    usual = {"kind": "table", "from": ["evaluate"], "dataset": "counterfact", "n": 1}
    return found | {"paper": kept | {name: usual | spec for name, spec in items.items()}}


def rows(spec):
    return [(row["method"], str(row["n"])) for row in edits.of_item({"dataset": "counterfact", "n": 1} | spec)]


def test_an_item_names_methods_and_words():
    assert rows({}) == []
    assert rows({"methods": ["none", "rome"]}) == [("none", "1"), ("rome", "1")]
    assert rows({"methods": ["memit"], "n": [1, "10by2"]}) == [("memit", "1"), ("memit", "10by2")]
    assert rows({"methods": ["memit", "rome"], "n": {"rome": "10by1", "memit": [1, 10]}}) == [
        ("memit", "1"),
        ("memit", "10"),
        ("rome", "10by1"),
    ]
    swept = {"methods": ["none"], "n": {"none": 1, "ft": [1, 9]}, "sweep": {"method": "ft", "over": {"layer": [0, 3]}}}
    assert rows(swept) == [
        ("none", "1"),
        ("ft-layer-0", "1"),
        ("ft-layer-0", "9"),
        ("ft-layer-3", "1"),
        ("ft-layer-3", "9"),
    ]


def test_held_out_text_is_read_where_an_item_reads_drift():
    found = values(a={"methods": ["rome", "memit"], "n": [1, 10]}, b={"from": ["drift"], "methods": ["memit"], "n": 10})
    assert [row for row in edits.wanted(found) if edits.drifts(found, **row)] == [
        {"dataset": "counterfact", "method": "memit", "n": FactGroup(10)}
    ]
    found["edit"]["perplexity"]["passages"] = 0
    (problem,) = edits.problems(found)
    assert problem == (
        ("paper", "b", "from"),
        "drift, with edit.perplexity.passages 0",
        "at least 1 passage, or no such item",
    )


def test_the_most_that_an_item_asks_for_is_edited():
    found = sweeps.expanded(
        values(
            a={"methods": ["rome", "memit", "ft"]},
            b={"methods": ["memit", "emmet"], "n": [1, 1000], "records": 300},
            c={"methods": ["rome", "mend"], "n": {"rome": [1, "500by1"], "mend": [1, 400]}, "records": 50},
            d={"sweep": {"method": "mend", "over": {"lr_scale": [0.5]}}, "n": 600},
        )
    )
    assert [(row["method"], str(row["n"])) for row in edits.wanted(found)] == [
        ("rome", "1"),
        ("memit", "1"),
        ("ft", "1"),
        ("memit", "1000"),
        ("emmet", "1"),
        ("emmet", "1000"),
        ("rome", "500by1"),
        ("mend", "1"),
        ("mend", "400"),
        ("mend-lr-scale-0p5", "600"),
    ]
    counts = {(method, str(n)): size for (_, method, n), size in edits.counts(found, "mini").items()}
    assert counts == {
        ("rome", "1"): 200,
        ("memit", "1"): 300,
        ("ft", "1"): 30,
        ("memit", "1000"): 1000,
        ("emmet", "1"): 300,
        ("emmet", "1000"): 1000,
        ("rome", "500by1"): 500,
        ("mend", "1"): 50,
        ("mend", "400"): 400,
        ("mend-lr-scale-0p5", "600"): 600,
    }
    assert edits.targets(found, "mini") == {
        ("counterfact", "rome"): {"count": 500},
        ("counterfact", "memit"): {"count": 1000},
    }, "once for all"
    assert edits.hypernets(found, "mini") == {"mend": {"count": 600}}, (
        "a point of a sweep uses the network of its method"
    )
    assert edits.count(found, "mini", "counterfact", "rome", FactGroup(500, 1)) == 500
    assert edits.count(found, "mini", "counterfact", "rome", FactGroup(999)) == 999, "also where no item asks"
    assert edits.count(found, "mini", "zsre", "ft", FactGroup(1)) == 30


def test_texts_are_generated_as_far_as_an_item_reads_them():
    found = values(
        a={"methods": ["rome", "memit"], "n": [1, 1000], "texts": 0},
        b={"methods": ["rome"], "texts": 20},
        c={"methods": ["memit"], "n": 1},
        d={"methods": ["none"], "texts": 500},
    )
    asked = {
        (method, n): edits.texts(found, "mini", "counterfact", method, FactGroup.parse(n))
        for method, n in (("rome", "1"), ("memit", "1000"), ("memit", "1"), ("none", "1"), ("ft", "1"))
    }
    assert asked == {
        ("rome", "1"): 20,
        ("memit", "1000"): 0,
        ("memit", "1"): None,
        ("none", "1"): None,
        ("ft", "1"): None,
    }


def test_points_are_methods():
    found = values(a={"sweep": {"method": "ft", "over": {"layer": [0, 12], "epsilon": [None, 0.0005, 5e-5, 1]}}})
    points = sweeps.points(found["paper"]["a"])
    assert (
        list(points)[:4]
        == [
            "ft-layer-0-epsilon-none",
            "ft-layer-0-epsilon-0p0005",
            "ft-layer-0-epsilon-0p00005",
            "ft-layer-0-epsilon-1",
        ]
        and len(points) == 8
    )
    assert points["ft-layer-12-epsilon-none"] == {"layer": 12, "epsilon": None}
    made = sweeps.blocks(found)
    assert made["ft-layer-12-epsilon-1"] == {"method": "ft", "records": 30, "mini": {"layer": 12, "epsilon": 1}}
    assert sweeps.expanded(found)["methods"] == METHODS | made and found["methods"] is METHODS
    assert families.method_of(sweeps.expanded(found), "ft-layer-0-epsilon-none", "mini") == {
        "name": "ft-layer-0-epsilon-none",
        "method": "ft",
        "layer": 0,
        "epsilon": None,
    }
    assert sweeps.swept(found) == dict.fromkeys(points, "ft")
    assert all(name == name.lower() and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in points)
    assert sweeps.slug("kn", {"truth": "own", "refine": True, "decay_law": [-0.87, 2]}) == (
        "kn-truth-own-refine-true-decay-law-m0p87-2"
    )


def test_points_share_optimised_values_wherever_they_are_the_same():
    over = {"layers": [[0, 1], [1], [2, 3]], "covariance_weight": [10, 20]}
    found = sweeps.expanded(
        values(
            a={"sweep": {"method": "memit", "over": over}},
            b={"sweep": {"method": "emmet", "over": {"ridge": [0.1], "layers": [[1], [0]]}}},
            c={"sweep": {"method": "rome", "over": {"layer": [0, 1]}}},
        )
    )
    family = {name: families.family_of(found, name, "mini") for name in found["methods"] if name not in METHODS}
    assert family == {
        "memit-layers-0-1-covariance-weight-10": "memit",
        "memit-layers-0-1-covariance-weight-20": "memit",
        "memit-layers-1-covariance-weight-10": "memit",
        "memit-layers-1-covariance-weight-20": "memit",
        "memit-layers-2-3-covariance-weight-10": "memit-layers-2-3-covariance-weight-10",
        "memit-layers-2-3-covariance-weight-20": "memit-layers-2-3-covariance-weight-10",
        "emmet-ridge-0p1-layers-1": "memit",
        "emmet-ridge-0p1-layers-0": "emmet-ridge-0p1-layers-0",
        "rome-layer-0": "rome",
        "rome-layer-1": "rome-layer-1",
    }
    lent = families.method_of(found, "memit-layers-2-3-covariance-weight-20", "mini")
    assert (lent["layer"], lent["steps"], lent["layers"], lent["covariance_weight"]) == (3, 25, [2, 3], 20)
    own = families.method_of(found, "emmet-ridge-0p1-layers-0", "mini")
    assert (own["layer"], own["steps"], own["ridge"]) == (0, 25, 0.1), "the values of its own are as its family's else"
    assert families.targets_of(found, "rome-layer-1", "mini") == {"layer": 1, "rate": 0.5}
    assert not list(families.problems(found))


@pytest.mark.parametrize(
    ("spec", "key", "says"),
    [
        ({"methods": ["rome", "ke"], "n": [1, 10]}, "n[1]", "10 for `ke`, which can edit each fact alone"),
        (
            {"methods": ["mend"], "n": "10by1"},
            "n",
            "10by1 for `mend`, which can edit each fact alone or many facts at once",
        ),
        (
            {"methods": ["mend", "rome"], "n": {"mend": "10by1", "rome": 1}},
            "n.mend",
            "right: 1 or a number of facts, 100; or",
        ),
        ({"methods": ["rome"], "n": "10by20"}, "n", "a batch of at most 10"),
        ({"methods": ["rome"], "n": "10by"}, "n", "1000by100"),
        ({"methods": ["rome"], "n": 0}, "n", "1000by100"),
        ({"methods": ["rome"], "n": [1, 1]}, "n", "1000by100"),
        ({"methods": ["rome"], "n": {"roem": 1}}, "n.roem", "did you mean `rome`?"),
        ({"methods": ["rome", "none"], "n": {"rome": 1}}, "n.none", "the key is missing"),
        ({"methods": ["rome"], "records": 0}, "records", "at least 1"),
        ({"methods": ["rome"], "texts": 0}, "texts", "metrics of the texts"),
        ({}, "methods", "by dataset, n, methods or a sweep"),
        ({"sweep": {"method": "fft", "over": {"layer": [0]}}}, "sweep.method", "did you mean `ft`?"),
        (
            {"sweep": {"method": "ft", "over": {"layr": [0]}}},
            "sweep.over.layr",
            "key of `ft`, `layr`\n  right: did you mean `layer`",
        ),
        (
            {"sweep": {"method": "ft", "over": {"layer": [0, 99]}}},
            "sweep.over.layer[1]",
            "found: 99\n  right: a layer of the model",
        ),
        (
            {"sweep": {"method": "ft", "over": {"rate": [0.1, "x"]}}},
            "sweep.over.rate[1]",
            "found: 'x'\n  right: a number",
        ),
        (
            {"sweep": {"method": "rome", "over": {"layer": [0, 6]}}},
            "sweep.over.layer[1]",
            "models.mini.covariance_layers",
        ),
        (
            {"sweep": {"method": "rome", "over": {"contexts": ["memit", "m"]}}},
            "sweep.over.contexts[1]",
            "unknown family of contexts",
        ),
        (
            {"sweep": {"method": "memit", "over": {"contexts": ["rome-long", "rome-long "]}}},
            "sweep.over",
            "a second point named",
        ),
        ({"sweep": {"method": "none", "over": {"layer": [0]}}}, "sweep.over.layer", "an unknown key of `none`"),
        ({"sweep": {"method": "ke", "over": {"lr_scale": [2]}}, "n": 2}, "n", "2 for `ke`"),
        ({"sweep": {"method": "ft"}}, "sweep.over", "the key is missing"),
    ],
)
def test_what_is_asked_in_vain_is_refused_with_item_and_key(tmp_path, monkeypatch, spec, key, says):
    monkeypatch.chdir(tmp_path)
    os.symlink(ROOT / "workflow", tmp_path / "workflow")
    Path("params.yaml").write_text(yaml.safe_dump(values(**{ITEM: spec}), sort_keys=False))
    with pytest.raises(params.ParamsError) as error:
        params.load("params.yaml")
    assert f": paper.{ITEM}.{key}\n  found: " in str(error.value) and says in str(error.value), error.value


def test_a_point_must_not_have_the_name_of_a_method():
    found = values(a={"sweep": {"method": "ft", "over": {"layer": [3]}}})
    found["methods"] = found["methods"] | {"ft-layer-3": {"method": "ft"}}
    ((key, text, right),) = sweeps.problems(found)
    assert key == ("paper", "a", "sweep", "over") and "`ft-layer-3`, as a method is" in text and "renamed" in right
    same = {"sweep": {"method": "ft", "over": {"layer": [3]}}}
    assert list(sweeps.problems(values(a=same, b=same))) == [], "two items may show the same point"


def test_known_records_by_dataset():
    """One word for all, or a word for each dataset; the rules pass on what holds for theirs."""
    found = values()
    records = found["models"]["cf500"]["records"]
    assert records["only_known"] == {"counterfact": True, "zsre": False}
    assert [edits.only_known(found, "cf500", dataset) for dataset in ("counterfact", "zsre")] == [True, False]
    assert [edits.only_known(found, "mini", dataset) for dataset in ("counterfact", "zsre")] == [True, True]
