"""The published numbers: complete, in range, each once, and consistent with each other; and how they are put beside a
run's.
"""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engram.drawing import published_numbers
from engram.job import io
from fake_tables import beside

FILE = Path(__file__).parents[2] / "data" / "published.csv"
COUNTS = {  # (paper, table, model) -> editors x columns
    ("rome", "Table 1", "gpt2-xl"): 8 * 3,
    ("rome", "Table 2", ""): 7 * 3,
    ("rome", "Table 4", "gpt2-xl"): 9 * 9,
    ("rome", "Table 4", "gpt-j-6b"): 5 * 9,
    ("rome", "Table 5", "gpt2-medium"): 3 * 9,
    ("rome", "Table 5", "gpt2-large"): 3 * 9,
    ("rome", "Table 6", "gpt2-medium"): 3 * 3,
    ("rome", "Table 6", "gpt2-large"): 3 * 3,
    ("rome", "text", "gpt2-xl"): 12,
    ("memit", "Table 1", "gpt-j-6b"): 5 * 4,
    ("memit", "Table 2", "gpt-j-6b"): 5 * 6,
    ("memit", "Table 2", "gpt-neox-20b"): 2 * 6,
    ("memit", "text", "gpt-j-6b"): 6,
}
RANGES = {
    "S": (0, 100),
    "ES": (0, 100),
    "PS": (0, 100),
    "NS": (0, 100),
    "EA": (0, 100),
    "PA": (0, 100),
    "NA": (0, 100),
    "EM": (-100, 100),
    "PM": (-100, 100),
    "NM": (-100, 100),
    "GE": (200, 700),
    "RS": (0, 100),
}
HALF = 0.05 + 1e-9  # half a unit of the last printed digit


@pytest.fixture(scope="module")
def numbers():
    return published_numbers.of(io.read_table(FILE)).fillna({"model": ""})


@pytest.fixture(scope="module")
def edits(numbers):
    """The tables of editors."""
    return numbers[numbers["table"].str.startswith("Table") & (numbers["model"] != "")]


def test_every_table_is_complete_and_every_number_stands_once(numbers):
    assert numbers.groupby(["paper", "table", "model"]).size().to_dict() == COUNTS
    keys = ["paper", "dataset", "model", "facts", "row", "column"]  # what a run's number is looked up by
    assert not numbers.duplicated(keys).any() and not numbers.duplicated(["paper", "table", *keys]).any()
    assert not numbers[["value", "facts"]].isna().any(axis=None)
    assert set(numbers["reproducible"]) == {"yes", "no"}
    assert (numbers.loc[numbers["reproducible"] == "no", "note"] != "").all(), "a mark without its reason"


def test_numbers_are_in_range(edits):
    assert set(edits["column"]) == set(RANGES)
    for column, rows in edits.groupby("column"):
        assert rows["value"].between(*RANGES[column]).all(), column
        assert rows["ci"].isna().all() if column == "S" else rows["ci"].between(0, 10).all(), column
    assert ((edits["row"] == "none") == (edits["facts"] == 0)).all()
    at_once = edits[edits["row"] != "none"].groupby("paper")["facts"].unique()
    assert at_once["rome"].tolist() == [1] and at_once["memit"].tolist() == [10000]


def test_scores_are_harmonic_means(edits):
    """S of every row that has one, from the printed numbers and anything that rounds to them. No exception is known."""

    def harmonic(values):
        return 3 / sum(1 / value for value in values)

    wide = edits.pivot(index=["paper", "table", "model", "row"], columns="column", values="value")
    wide, wrong = wide[wide["S"].notna()], []
    for key, row in wide.iterrows():
        parts = row[["ES", "PS", "NS"]] if pd.notna(row.get("ES")) else row[["EA", "PA", "NA"]]
        low, high = (harmonic(np.clip(parts + shift, 1e-6, 100)) for shift in (-HALF, HALF))
        if not low - HALF <= row["S"] <= high + HALF:
            wrong.append((*key, row["S"], low, high))
    assert len(wide) == 9 + 5 + 3 + 3 + 5 + 5 + 2 and wrong == []


def test_intervals_of_efficacy_are_those_of_the_records(edits):
    """ES is yes or no, so 1.96 sqrt(p (1 - p) / records) is its interval, for a p that rounds to what is printed."""
    rows = edits[(edits["column"] == "ES") & edits["records"].notna()]
    for row in rows.itertuples():
        p = np.clip(row.value + np.linspace(-HALF, HALF, 101), 0, 100) / 100
        ci = 196 * np.sqrt(p * (1 - p) / row.records)
        assert ci.min() - HALF <= row.ci <= ci.max() + HALF, row
    assert len(rows) == 25


def test_other_arithmetic(numbers):
    value = numbers.set_index(["table", "row", "column"])["value"]
    text = value.loc["text"]
    assert text["memit", "seconds"] == pytest.approx(text["memit", "seconds, z"] + text["memit", "seconds, insert"])
    assert text["prompts", "total effect"] == pytest.approx(
        text["prompts", "clean"] - text["prompts", "corrupted"], abs=2 * HALF
    )
    per_record = value.loc["Table 2", "records", "total"].item()
    assert per_record == 21919 and value.loc["Table 2", "records", "per relation"].item() == round(per_record / 34)


@pytest.mark.parametrize(
    ("key", "value", "ci"),
    [  # of each table one, typed in once more
        (("rome", "Table 1", "gpt2-xl", "mend-zsre", "PA"), 99.3, 0.1),
        (("rome", "Table 4", "gpt2-xl", "ke-cf", "NM"), -63.2, 0.7),
        (("rome", "Table 4", "gpt-j-6b", "ft", "GE"), 387.8, 7.3),
        (("rome", "Table 5", "gpt2-medium", "ft-l", "PM"), 6.1, 0.4),
        (("rome", "Table 5", "gpt2-large", "none", "ES"), 23.9, 1.0),
        (("rome", "Table 6", "gpt2-large", "rome", "PA"), 84.7, 0.6),
        (("memit", "Table 1", "gpt-j-6b", "rome", "NA"), 0.9, 0.1),
        (("memit", "Table 2", "gpt-j-6b", "ft-w", "GE"), 293.9, 2.4),
        (("memit", "Table 2", "gpt-neox-20b", "memit", "PS"), 82.2, 1.6),
    ],
)
def test_single_numbers(numbers, key, value, ci):
    row = numbers.set_index(["paper", "table", "model", "row", "column"]).loc[key]
    assert (row["value"], row["ci"]) == (value, ci) and row["source"] == f"{key[0].upper()} {key[1]}"


def test_what_cannot_be_reproduced_is_marked(numbers):
    """ROME's notebook takes S and PS of FT and FT+L from another run than the rest of the row."""
    marked = numbers[(numbers["reproducible"] == "no") & (numbers["table"] != "text")]
    found = set(marked[["table", "model", "row", "column"]].itertuples(index=False, name=None))
    assert found == set(product(["Table 4"], ["gpt2-xl", "gpt-j-6b"], ["ft", "ft-l"], ["S", "PS"]))


def own(*rows, n=1, model="gpt-j-6b"):
    return pd.DataFrame(
        [
            {
                "model": model,
                "dataset": "counterfact",
                "method": method,
                "n": n,
                "metric": metric,
                "value": value,
                "ci": ci,
                "count": 2000,
            }
            for method, metric, value, ci in rows
        ]
    )


def test_beside_a_run():
    """ES of ROME on GPT-J is 99.9 (.1), of FT+L 99.6 (.3), of MEND 97.4 (.7); of R-ROME nothing is published."""
    frame = own(("rome", "ES", 99.5, 0.29), ("ft-l", "ES", 99.5, 0.29), ("r-rome", "ES", 90.0, 1.0))
    found = beside(frame, FILE, "rome").set_index("method")
    assert found.loc["rome", ["published", "published_ci", "overlap"]].tolist() == [99.9, 0.1, "no"]
    assert found.loc["ft-l", "difference"] == pytest.approx(-0.1) and found.loc["ft-l", "overlap"] == "yes"
    assert pd.isna(found.loc["r-rome", "published"]) and found.loc["r-rome", "overlap"] == ""
    assert pd.isna(found.loc["mend", "value"]) and found.loc["mend", "published"] == 97.4, "published alone"
    assert set(found.index) == {"none", "ft", "ft-l", "mend", "rome", "r-rome"} and set(found["model"]) == {"gpt-j-6b"}


def test_intervals_that_touch_overlap():
    frame = own(("rome", "ES", 99.6, 0.2))
    assert beside(frame, FILE, "rome").set_index("method").loc["rome", "overlap"] == "yes"
    frame = own(("rome", "S", 50.0, None), ("rome", "ES", 99.6, 0.19))
    found = beside(frame, FILE, "rome").set_index(["method", "metric"])["overlap"]
    assert found["rome", "ES"] == "no" and found["rome", "S"] == "", "S has no interval"


def test_another_number_of_facts_is_not_compared():
    frame = own(("memit", "ES", 98.0, 0.3), n=100)
    found = beside(frame, FILE, "memit").set_index("method")
    assert pd.isna(found.loc["memit", "published"]) and found.loc["memit", "note"] == "published for 10,000 facts"
    assert found.loc["rome", "published"] == 50.2
    for n in (10000, "10000by1"):
        found = beside(own(("memit", "ES", 98.0, 0.3), n=n), FILE, "memit").set_index("method")
        assert found.loc["memit", "published"] == 98.9 and found.loc["memit", "n"] == n


def test_a_model_without_published_numbers_stays_as_it_is():
    frame = own(("rome", "ES", 99.5, 0.29), model="mini")
    assert list(beside(frame, FILE, "rome")) == list(frame)


def test_a_number_that_stands_twice_is_refused(tmp_path):
    lines = FILE.read_text().splitlines()
    (tmp_path / "twice.csv").write_text(
        "\n".join([*lines, *(line for line in lines if "Table 4,gpt-j-6b" in line)]) + "\n"
    )
    with pytest.raises(ValueError, match=r"published: method, metric .* occurs twice"):
        beside(own(("rome", "ES", 99.5, 0.29)), tmp_path / "twice.csv", "rome")
