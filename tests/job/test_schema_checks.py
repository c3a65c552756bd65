"""What a user is told when a table or a document is not what its schema says."""

import pandas as pd
import pytest

from engram.job import io
from engram.job.schema_checks import BY_NAME, FLAG, NUMBER, TEXT, TEXTS, WHOLE, Document, Table, column

TABLE = Table("marks", "one mark", ("case_id", "kind")).with_columns(
    column("case_id", WHOLE, "the record"),
    column("kind", TEXT, "kind of prompt"),
    column("n", WHOLE, "facts", other=TEXT, only="edits"),
    column("nll", NUMBER, "loss", "nats"),
    column("GE", NUMBER, "fluency", null="no text was written"),
    column("words", TEXTS, "the words"),
    column("correct", FLAG, "whether it is right"),
)
FRAME = pd.DataFrame(
    {
        "case_id": [3, 4],
        "kind": ["rewrite", "paraphrase"],
        "n": [1, 1],
        "nll": [0.5, 1.5],
        "GE": [6.1, float("nan")],
        "words": [["a", "b"], []],
        "correct": [True, False],
    }
)
DOCUMENT = Document("counts", "a statistic").with_keys(
    column("model", TEXT, "the model"),
    column("sigma", NUMBER, "size", null="none is drawn"),
    column("rank", BY_NAME, "rank of each layer"),
    column("articles", WHOLE, "articles", only="rule m"),
)
COUNTS = {"model": "mini", "sigma": None, "rank": {"0": 4}}


def test_a_table_comes_back_as_it_was_written(tmp_path):
    for frame in (FRAME, FRAME.assign(n=["10of1", "10of1"]), FRAME.drop(columns="n")):
        io.write(tmp_path / "x.parquet", frame, schema=TABLE)
        pd.testing.assert_frame_equal(io.read_table(tmp_path / "x.parquet", TABLE), frame)
    io.write(tmp_path / "checked.parquet", FRAME, schema=TABLE)
    io.write(tmp_path / "plain.parquet", FRAME)
    assert (tmp_path / "checked.parquet").read_bytes() == (tmp_path / "plain.parquet").read_bytes()


WRONG = [
    (FRAME.drop(columns="nll"), "no column 'nll', it has ['case_id', 'kind', 'n', 'GE', 'words', 'correct']"),
    (FRAME.assign(colour=1), "column 'colour' is none of table marks; right are ['case_id', "),
    (FRAME[["kind", "case_id", *FRAME.columns[2:]]], "right is this order: ['case_id', 'kind', 'n', "),
    (
        FRAME.assign(nll=[0.5, float("nan")]),
        "row 1 (case_id 4, kind paraphrase), column 'nll': no value; right is a number: loss",
    ),
    (
        FRAME.assign(case_id=["3", "4"]),
        "column 'case_id' is of type large_string (row 0 (case_id 3, kind rewrite): '3'); right is a whole number: the",
    ),
    (
        FRAME.assign(n=[0.5, 1.5]),
        "column 'n' is of type double (row 0 (case_id 3, kind rewrite): 0.5); right is a whole ",
    ),
    (
        FRAME.assign(case_id=3, kind="rewrite"),
        "case_id 3, kind rewrite in more than one row; right is one row for each",
    ),
    (FRAME[:0], "no rows; right is one mark a row"),
]


@pytest.mark.parametrize(("frame", "words"), WRONG, ids=lambda value: value[:20] if isinstance(value, str) else "")
def test_what_is_wrong_with_a_table_is_said_at_writing_and_at_reading(tmp_path, frame, words):
    path = tmp_path / "x.parquet"
    with pytest.raises(ValueError, match=r"x\.parquet: ") as written:
        io.write(path, frame, schema=TABLE)
    assert words in str(written.value) and not path.exists() and "delete it" not in str(written.value)
    io.write(path, frame)
    with pytest.raises(ValueError, match=r"x\.parquet: ") as read:
        io.read_table(path, TABLE)
    assert words in str(read.value) and str(read.value).endswith("; delete it and run again, which makes it anew")


def test_a_value_that_no_column_can_hold_is_named_with_its_row(tmp_path):
    for column_, values, words in (
        (
            "words",
            [["a"], [1]],
            "row 1 (case_id 4, kind paraphrase), column 'words': found [1]; right is a list of texts",
        ),
        ("correct", [True, "no"], "column 'correct': found 'no'; right is true or false: whether it is right"),
    ):
        with pytest.raises(ValueError, match=r"x\.parquet: row 1") as error:
            io.write(tmp_path / "x.parquet", FRAME.assign(**{column_: pd.Series(values, dtype=object)}), schema=TABLE)
        assert words in str(error.value)


def test_rows_become_a_table_in_the_order_of_its_columns():
    rows = [dict(reversed(row.items())) for row in FRAME.drop(columns="GE").assign(GE=1.0).to_dict("records")]
    assert list(TABLE.frame(rows)) == list(FRAME)
    del rows[1]["kind"]
    with pytest.raises(
        ValueError, match=r"table marks: row 1 \(case_id 4, kind None\), column 'kind': no value"
    ) as error:
        TABLE.frame(rows)
    assert "right is text: kind of prompt" in str(error.value)
    empty = Table("notes", "a note", may_be_empty="there are none").with_columns(
        *[field for field in TABLE.schema if field.name != "words"]
    )
    assert empty.frame([]).dtypes.to_dict() == FRAME.drop(columns="words").dtypes.to_dict()


def test_csv_has_no_types_of_its_own(tmp_path):
    """Whole numbers may stand where numbers are, a column without values where one may be missing; the rest is said."""
    schema = Table("summary", "a metric", ("metric",)).with_columns(
        column("metric", TEXT, "the metric"),
        column("value", NUMBER, "its mean"),
        column("ci", NUMBER, "its interval", null="S is 0"),
    )
    frame = pd.DataFrame({"metric": ["NA", "1"], "value": [1.0, 2.0], "ci": [float("nan")] * 2})
    io.write(tmp_path / "x.csv", frame, schema=schema)
    again = io.read_table(tmp_path / "x.csv", schema)
    assert again["metric"].tolist() == ["NA", "1"] and again["value"].tolist() == [1, 2] and again["ci"].isna().all()
    (tmp_path / "x.csv").write_text("metric,value,ci\nES,,1\n")
    with pytest.raises(ValueError, match=r"x.csv: row 0 \(metric ES\), column 'value': no value; right is a number"):
        io.read_table(tmp_path / "x.csv", schema)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "found list; right is an object ['model', "),
        ({"model": "mini", "rank": {}}, "no key 'sigma', it has ['model', 'rank']"),
        (COUNTS | {"model": None}, "key 'model': found None; right is text: the model"),
        (COUNTS | {"rank": {"0": "4"}}, "key 'rank': found {'0': '4'}; right is an object of whole numbers"),
        (COUNTS | {"sigma": True}, "key 'sigma': found True; right is a number: size"),
        (COUNTS | {"colour": 1}, "key 'colour' is none of counts; right are ['model', "),
    ],
)
def test_what_is_wrong_with_a_document_is_said(tmp_path, value, words):
    path = tmp_path / "x.json"
    io.write(path, COUNTS, schema=DOCUMENT)
    assert io.read_json(path, DOCUMENT) == COUNTS
    with pytest.raises(ValueError, match=r"x\.json: ") as written:
        io.write(path, value, schema=DOCUMENT)
    assert words in str(written.value) and io.read_json(path) == COUNTS
    io.write(path, value)
    with pytest.raises(ValueError, match="delete it and run again") as read:
        io.read_json(path, DOCUMENT)
    assert words in str(read.value)
