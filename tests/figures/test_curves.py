"""Metrics over a number (facts, layers, ε), drawn from small fake summaries through the command line of their items."""

import json
import re

import pandas as pd
import pytest

from engram.drawing import style
from fake_tables import fake_summary_at, load_item, write
from readable import assert_readable

METRICS = ("S", "ES", "EM", "PS", "PM", "NS", "NM", "GE", "RS")
FACTS = [1, 10, 100, 1000]
LAYERS = {f"ft-{layer}-{box}": {"layer": layer, "epsilon": box} for layer in (0, 1, 5) for box in (None, 0.0005, 0.01)}
TOKENS = {
    f"rome-{layer}-{token}": {"layer": layer, "token": token}
    for layer in (0, 1, 5)
    for token in ("subject_first", "subject_last", "subject_first_after_last", "last")
}
BOXES = {f"attn-{box}": {"epsilon": box} for box in (0.0005, 0.001, 0.005)}


SUMMARIES = {
    "memit/fig5_scaling": [
        fake_summary_at("none", 1, 1, 10.0),
        *(fake_summary_at("memit", n, n, 90.0 - n / 100) for n in FACTS),
        pd.concat([fake_summary_at("rome", "1000by1", n, 85.0 - n / 30) for n in FACTS]),
        *(fake_summary_at(method, n, n, 60.0) for n in FACTS for method in ("mend", "ft-w", "emmet", "alphaedit")),
    ],
    "rome/fig5_sweep": [
        fake_summary_at("none", 1, 1, 10.0),
        *(
            fake_summary_at(slug, 1, 1, 60.0 - 5 * point["layer"] - len(point["token"]))
            for slug, point in TOKENS.items()
        ),
    ],
    "rome/fig17_ft_layers": [
        fake_summary_at("none", 1, 1, 10.0),
        *(fake_summary_at(slug, 1, 1, 50.0 - point["layer"]) for slug, point in LAYERS.items()),
    ],
    "rome/fig23_attn_edit": [fake_summary_at(slug, 1, 1, 9000 * point["epsilon"]) for slug, point in BOXES.items()],
}
POINTS = {
    "memit/fig5_scaling": {},
    "rome/fig5_sweep": TOKENS,
    "rome/fig17_ft_layers": LAYERS,
    "rome/fig23_attn_edit": BOXES,
}


def run(item, module, folder, tables=None, points=None):
    (folder / "in").mkdir(parents=True, exist_ok=True)
    paths = [folder / "in" / f"{index}.csv" for index in range(len(tables or SUMMARIES[item]))]
    for path, frame in zip(paths, tables or SUMMARIES[item]):
        write(path, frame, "summaries")
    config = {"seed": 0, "model": {"name": "mini"}, "paper": {}}
    config |= {"points": POINTS[item] if points is None else points} if POINTS[item] else {}
    out = {suffix: folder / f"{item}.{suffix}" for suffix in ("pdf", "png", "csv")}
    flags = [str(word) for suffix, path in out.items() for word in (f"--{suffix}", path)]
    module.main(["--summaries", *map(str, paths), *flags, "--model", "mini", "--config", json.dumps(config)])
    return out


@pytest.fixture(scope="module")
def drawn(fakes, tmp_path_factory):
    """Item -> its files and its figure."""
    found, folder = {}, tmp_path_factory.mktemp("curves")
    for item in SUMMARIES:
        module, figures = load_item(item), []
        module.draw = lambda frame, real=module.draw, kept=figures: kept.append(real(frame)) or kept[0]
        found[item] = run(item, module, folder), figures[0]
    return found


@pytest.mark.parametrize("item", SUMMARIES)
def test_the_csv_holds_every_number_of_the_picture(item, drawn, fakes):
    frame, shown = pd.read_csv(drawn[item][0]["csv"]), load_item(item).METRICS
    given = pd.concat(SUMMARIES[item])
    given = given[given["metric"].isin(shown)]
    assert len(frame) == len(given) and sorted(frame["value"]) == pytest.approx(sorted(given["value"]), rel=1e-5)
    for row in frame[frame["method"] != "none"].itertuples():
        for key, value in POINTS[item].get(row.method, {}).items():
            assert pd.isna(getattr(row, key)) if value is None else getattr(row, key) == value


def test_the_same_bytes_again(drawn, fakes, tmp_path):
    again = run("memit/fig5_scaling", load_item("memit/fig5_scaling"), tmp_path)
    assert all(
        path.read_bytes() == drawn["memit/fig5_scaling"][0][suffix].read_bytes() for suffix, path in again.items()
    )


@pytest.mark.parametrize(("item", "lines"), list(zip(SUMMARIES, (6, 4, 3, 1))))
def test_pictures_can_be_read(item, lines, drawn, monkeypatch):
    fig = drawn[item][1]
    assert_readable(fig, monkeypatch)
    assert len(fig.axes) == 4 and all(ax.get_title() for ax in fig.axes)
    shown = [line for line in fig.axes[1].lines if len(set(line.get_xdata())) > 2]
    assert len(shown) == lines and len({(line.get_color(), line.get_marker()) for line in shown}) == lines
    assert len(fig.axes[1].collections) == lines, "each with its band"


def test_lines_go_through_their_points(drawn):
    fig = drawn["memit/fig5_scaling"][1]
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in fig.axes[1].lines}
    assert lines["MEMIT"] == (FACTS, pytest.approx([91 - n / 100 for n in FACTS]))
    assert lines["ROME"] == (FACTS, pytest.approx([86 - n / 30 for n in FACTS])), "by the facts that are edited so far"
    assert lines["Unedited"][1] == [11.0, 11.0] and fig.axes[0].get_xscale() == "log"


FIVE, SEVENTEEN = "memit/fig5_scaling", "rome/fig17_ft_layers"


@pytest.mark.parametrize(
    ("item", "change", "says"),
    [
        (
            FIVE,
            lambda tables, points: tables.append(fake_summary_at("rome", 10, 10, 1.0)),
            "counterfact, rome, 10, 10, S occurs twice",
        ),
        (FIVE, lambda tables, points: tables.append(fake_summary_at("pmet", 1, 1, 1.0)[1:]), "lacks the metrics ['S']"),
        (
            SEVENTEEN,
            lambda tables, points: tables.append(fake_summary_at("rome", 1, 1, 1.0)),
            "with rome; right is a sweep over",
        ),
        (SEVENTEEN, lambda tables, points: points.clear(), "right is a sweep over layer and epsilon"),
        (SEVENTEEN, lambda tables, points: points.update({"ft-9": {"layer": 9}}), "over layer; right is"),
        (SEVENTEEN, lambda tables, points: tables.append(fake_summary_at("ft-0-None", 9, 9, 1.0)), "occurs twice"),
        (
            "rome/fig23_attn_edit",
            lambda tables, points: points.update({"attn-0.001": {"epsilon": None}}),
            "a point without a box",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said(item, change, says, fakes, tmp_path):
    tables, points = list(SUMMARIES[item]), dict(POINTS[item])
    change(tables, points)
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        run(item, load_item(item), tmp_path, tables, points)
    assert item in str(error.value)


def test_editors_look_the_same_in_every_figure():
    looks = style.method_looks({"rome", "memit", "pmet", "emmet"})
    assert looks["memit"] == style.LINES["memit"] and looks["rome"] == style.LINES["rome"]
    assert len(set(looks.values())) == 4
