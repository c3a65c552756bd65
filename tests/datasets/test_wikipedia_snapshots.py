"""A sample of articles from a snapshot of any form."""

import re

import pytest

from engram.datasets import fetching, wikipedia_snapshots
from engram.datasets.fetching import Original
from original_files import failure, left, where

ARTICLES = [{"id": str(number), "title": f"Title {number}", "text": f"Text\u2028of {number}."} for number in range(50)]


@pytest.mark.parametrize("form", ["jsonl", "parquet", "stream", "file", "folder"])
def test_a_sample_of_articles_from_any_snapshot(tmp_path, form):
    import random

    import pyarrow as pa
    import pyarrow.parquet as pq

    given = tmp_path / "given"
    given.mkdir()
    table = pa.Table.from_pylist(ARTICLES)
    if form == "jsonl":
        wikipedia_snapshots.write(ARTICLES, given / "wikipedia.jsonl")
    elif form == "parquet":
        pq.write_table(table, given / "wikipedia.parquet", row_group_size=7)
    elif form == "folder":
        (given / "wikipedia").mkdir()
        for part in range(2):
            pq.write_table(table.slice(30 * part, 30), given / f"wikipedia/train-{part}.parquet")
    else:
        writer_to = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
        with pa.OSFile(str(given / "wikipedia.arrow"), "wb") as sink, writer_to(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=11)
    asked = Original("wikipedia.jsonl", "articles", "none", sample=20)
    found = fetching.obtain(asked, where(tmp_path, local=(given,)))
    order = list(range(50))
    random.Random(1).shuffle(order)
    assert [row["id"] for row in found.records] == [str(number) for number in order[:20]]
    assert found.path == tmp_path / "store/wikipedia.20.jsonl"
    assert found.place.startswith("local folder, wikipedia") and found.place.endswith(": 20 of 50 articles")
    assert fetching.obtain(asked, where(tmp_path)) == found, "the sample is kept"
    smaller = Original("wikipedia.jsonl", "articles", "none", sample=10)
    assert "no place has it" in failure(tmp_path, smaller, where(tmp_path)), "and is no snapshot to draw from"
    assert fetching.obtain(smaller, where(tmp_path, local=(given,))).records == found.records[:10]


def test_a_snapshot_in_the_store_stays_as_it_is(tmp_path):
    (tmp_path / "store").mkdir()
    wikipedia_snapshots.write(ARTICLES, tmp_path / "store/wikipedia.jsonl")
    before = (tmp_path / "store/wikipedia.jsonl").read_bytes()
    for size in (20, 10, 50):
        found = fetching.obtain(Original("wikipedia.jsonl", "articles", "none", sample=size), where(tmp_path))
        assert found.count == size and (tmp_path / "store/wikipedia.jsonl").read_bytes() == before


def test_a_data_set_of_the_hub(tmp_path, monkeypatch):
    """`datasets` reads a folder as it reads a repository: streamed, with the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "repository").mkdir()
    pq.write_table(pa.Table.from_pylist(ARTICLES), tmp_path / "repository/train.parquet")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    stream, total = wikipedia_snapshots.hub(str(tmp_path / "repository"))
    assert total == 50 and list(stream) == ARTICLES
    asked, real = (
        Original("wikipedia.jsonl", "articles", "none", ("hub:owner/name@20200501",), sample=20),
        wikipedia_snapshots.hub,
    )
    given = []
    monkeypatch.setattr(
        wikipedia_snapshots, "hub", lambda *words: given.append(words) or real(str(tmp_path / "repository"))
    )
    found = fetching.obtain(asked, where(tmp_path))
    assert given == [("owner/name", "20200501")] and found.place == "hub:owner/name@20200501: 20 of 50 articles"
    assert found.records == fetching.obtain(asked, where(tmp_path)).records
    monkeypatch.setattr(wikipedia_snapshots, "hub", lambda *words: 1 / 0)
    text = failure(tmp_path, asked, where(tmp_path / "other"))
    assert "hub:owner/name@20200501: ZeroDivisionError" in text and left(tmp_path / "other") == set()


def test_a_snapshot_that_is_too_small_or_malformed(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    asked = Original("wikipedia.jsonl", "articles", "none", sample=60)
    for number, (rows, said) in enumerate(
        (
            (ARTICLES, "holds 50 articles, the sample 60"),
            ([{"id": "1", "title": "T"}] * 70, "no column text; found id, title"),
            ([*ARTICLES * 2, {"id": "x", "title": "T", "text": " "}], r"row 100 \(id x\): field 'text' should be"),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        pq.write_table(pa.Table.from_pylist(rows), folder / "wikipedia.parquet")
        text = failure(tmp_path, asked, where(folder, local=(folder,)))
        assert re.search(said, text), text
        assert left(folder) == set()
    (tmp_path / "wikipedia.parquet").write_bytes((tmp_path / "0/wikipedia.parquet").read_bytes()[:-20])
    text = failure(tmp_path, asked, where(tmp_path, local=(tmp_path,)))
    assert "not a .parquet file that can be read, or truncated" in text
