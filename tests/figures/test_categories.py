"""MEMIT's Fig. 6 and 7 and its ablations, drawn from small fake tables through the command line of their items."""

import json

import pandas as pd
import pytest

from engram.evaluation import metrics
from fake_tables import fake_summary_at, load_item, write
from readable import assert_readable

RELATIONS = {"1": ["born in"], "2": ["works as"], "1+2": ["born in", "works as"]}
LAYERS = {f"memit-{index}": {"layers": layers} for index, layers in enumerate(([2], [0, 1, 2], [0], [0, 2]))}
DECAYS = {f"ft-w-{decay}": {"weight_decay": decay, "decay_law": None} for decay in (0.05, 0, 0.0005)}
WEIGHTS = {f"memit-weight-{weight}": {"covariance_weight": weight} for weight in (2, 200, 20000)}


def records(method, facts, of, success):
    """The table of a group: the first `success` of its records are perfect, the others lack half of their
    paraphrases.
    """
    names = RELATIONS[of]
    rows = [
        {
            "relation_id": names[index % len(names)],
            "after": facts,
            "case_id": index,
            **{name: 1.0 if index < success or name != "PS" else 0.5 for name in metrics.METRICS["counterfact"][1]},
        }
        for index in range(facts)
    ]
    keys = {"model": "mini", "dataset": "counterfact", "method": method, "n": f"{facts}of{of}"}
    return pd.DataFrame(rows).assign(**keys)


TABLES = {
    "memit/fig6_categories": [
        records(method, 20, of, success)
        for method, of, success in (("rome", "1", 2), ("memit", "1", 5), ("rome", "2", 4), ("memit", "2", 20))
    ],
    "memit/fig7_mixes": [records("memit", facts, of, facts // 2 + len(of)) for facts in (10, 40) for of in RELATIONS],
    "memit/ablation_layers": [
        fake_summary_at("none", 1, 1, 5.0),
        *(fake_summary_at(slug, 50, 50, 60.0 + index) for index, slug in enumerate(LAYERS)),
    ],
    "memit/fig9_weight_decay": [
        fake_summary_at("none", 1, 1, 5.0),
        *(fake_summary_at(slug, 50, 50, 70.0 - 100 * point["weight_decay"]) for slug, point in DECAYS.items()),
    ],
    "memit/ablation_weight": [
        fake_summary_at("none", 1, 1, 5.0),
        *(fake_summary_at(slug, 50, 50, 80.0) for slug in WEIGHTS),
    ],
}
POINTS = {"memit/ablation_layers": LAYERS, "memit/ablation_weight": WEIGHTS, "memit/fig9_weight_decay": DECAYS}


def run(item, root, folder, tables=None, points=None):
    """Files of the item and its figure."""
    module, figures, paths = load_item(item), [], []
    module.draw = lambda frame, real=module.draw: figures.append(real(frame)) or figures[0]
    flag = "--summaries" if item in POINTS else "--records"
    for index, frame in enumerate(tables or TABLES[item]):
        paths.append(folder / f"{item.replace('/', '-')}-{index}.{'csv' if item in POINTS else 'parquet'}")
        write(paths[-1], frame, flag.strip("-"))
    config = {"seed": 0, "model": {"name": "mini"}, "paper": {}}
    config |= {"points": points or POINTS[item]} if item in POINTS else {}
    out = {suffix: folder / f"{item}.{suffix}" for suffix in ("pdf", "png", "csv")}
    flags = [str(word) for suffix, path in out.items() for word in (f"--{suffix}", path)]
    module.main([flag, *map(str, paths), *flags, "--model", "mini", "--config", json.dumps(config)])
    return out, figures[0]


@pytest.fixture(scope="module")
def drawn(fakes, tmp_path_factory):
    return {item: run(item, fakes.root, tmp_path_factory.mktemp("items")) for item in TABLES}


@pytest.mark.parametrize("item", TABLES)
def test_pictures_can_be_read(item, drawn, monkeypatch):
    assert_readable(drawn[item][1], monkeypatch)


def test_scores_of_a_relation_are_those_of_its_records(drawn):
    """Against the mean over the records; the harmonic mean by hand."""
    frame = pd.read_csv(drawn["memit/fig6_categories"][0]["csv"])
    assert len(frame) == 2 * 2 * 4 and set(frame["facts"]) == {20}
    value = frame.set_index(["method", "relations", "metric"])["value"]
    paraphrases = (5 + 15 * 0.5) / 20
    assert value["memit", "born in", "PS"] == pytest.approx(100 * paraphrases)
    assert value["memit", "born in", "S"] == pytest.approx(100 * 3 / (1 + 1 / paraphrases + 1))
    order = list(dict.fromkeys(frame["relations"]))
    assert order == ["works as", "born in"], "the best of the last editor, MEMIT, first"
    axis = drawn["memit/fig6_categories"][1].axes[-1]
    assert [label.get_text() for label in axis.get_xticklabels()] == order


def test_a_mixture_stands_between_its_relations(drawn):
    frame = pd.read_csv(drawn["memit/fig7_mixes"][0]["csv"])
    both = frame[frame["of"] == "1+2"]
    assert set(both["relations"]) == {"born in + works as"} and set(both["facts"]) == {10, 40}
    lines = {line.get_label(): list(line.get_ydata()) for line in drawn["memit/fig7_mixes"][1].axes[0].lines}
    alone = [
        frame[(frame["of"] == of) & (frame["metric"] == "S")].sort_values("facts")["value"].to_numpy() for of in "12"
    ]
    assert lines["mean of the two"] == pytest.approx(list(sum(alone) / 2), rel=1e-4)
    assert set(lines) == {"born in", "works as", "both, half each", "mean of the two"}


def test_ranges_of_layers_are_named_and_in_order(drawn):
    axis = drawn["memit/ablation_layers"][1].axes[-1]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "2", "0, 2", "0–2"]
    frame = pd.read_csv(drawn["memit/ablation_layers"][0]["csv"], keep_default_na=False)
    assert float(frame[(frame["layers"] == "0–2") & (frame["metric"] == "S")]["value"].iloc[0]) == 61.0


def test_decays_are_in_order_and_a_law_has_no_place(drawn, fakes, tmp_path):
    files, fig = drawn["memit/fig9_weight_decay"]
    frame = pd.read_csv(files["csv"])
    scores = frame[(frame["metric"] == "S") & frame["weight_decay"].notna()]
    assert scores[["weight_decay", "value"]].to_numpy().tolist() == [[0, 70.0], [0.0005, 69.95], [0.05, 65.0]]
    assert [label.get_text() for label in fig.axes[-1].get_xticklabels()] == ["0", "0.0005", "0.05"]
    assert "50 facts" in fig.axes[-1].get_xlabel()
    points = DECAYS | {"ft-w-0": {"weight_decay": 0, "decay_law": [1, 2]}}
    with pytest.raises(ValueError, match="a point whose decay is a law"):
        run("memit/fig9_weight_decay", fakes.root, tmp_path, points=points)


def test_the_same_bytes_again(drawn, fakes, tmp_path):
    for item, (files, _) in drawn.items():
        again = run(item, fakes.root, tmp_path)[0]
        assert all(path.read_bytes() == again[suffix].read_bytes() for suffix, path in files.items())


@pytest.mark.parametrize(
    ("item", "tables", "says"),
    [
        (
            "memit/fig6_categories",
            [records("memit", 20, "1", 3).assign(n=20)],
            "memit, n 20: right are facts of chosen relations",
        ),
        ("memit/fig6_categories", [records("memit", facts, "1", 3) for facts in (10, 20)], "two rows for one relation"),
        ("memit/fig7_mixes", [records("memit", 10, "1+2", 3), records("memit", 10, "1", 3)], "with 10 of each alone"),
        ("memit/fig7_mixes", [records("memit", 10, "1", 3)], "no mixture of two relations"),
    ],
)
def test_what_cannot_be_drawn_is_said(item, tables, says, fakes, tmp_path):
    with pytest.raises(ValueError, match=says):
        run(item, fakes.root, tmp_path, tables)


def test_many_relations_have_room(fakes, tmp_path, monkeypatch):
    tables = [
        records("memit", 4, "1", 2).assign(relation_id=f"relation number {index} of the papers", n=f"4of{index + 1}")
        for index in range(27)
    ]
    assert_readable(run("memit/fig6_categories", fakes.root, tmp_path, tables)[1], monkeypatch)
