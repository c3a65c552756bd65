"""Original files come from the first place that has them, whole and right, or not at all. A local server plays the
origin.
"""

import hashlib
import json
import re
import socket

import pytest

from engram.datasets import fetching, wikipedia_snapshots
from engram.datasets.download import Patience
from engram.datasets.fetching import Original, Where
from file_server import serve

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:d017\nsize 45108470\n"


def fact(number: int, **request) -> dict:
    asked = {
        "prompt": "{} speaks",
        "relation_id": "P1412",
        "subject": f"Zoë {number}",
        "target_new": {"str": "Welsh", "id": "Q1"},
        "target_true": {"str": "Greek", "id": "Q2"},
    } | request
    lists = dict.fromkeys(
        ("paraphrase_prompts", "neighborhood_prompts", "attribute_prompts", "generation_prompts"), ["x" * 400]
    )
    return {"case_id": number, "requested_rewrite": asked, **lists}


FACTS = [fact(number) for number in range(120)]
BODY = json.dumps(FACTS).encode()
HASH = hashlib.sha256(BODY).hexdigest()
assert len(BODY) > 3 * 65536


def wanted(*addresses, body=BODY, **more) -> Original:
    about = {
        "schema": "counterfact",
        "licence": "none",
        "records": 120,
        "bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    return Original("facts.json", places=addresses, **about | more)


def where(folder, **more) -> Where:
    return Where(folder / "store", patience=Patience(attempts=3, timeout=0.5, pause=0.01), **more)


def left(folder) -> set[str]:
    return {path.name for path in (folder / "store").glob("*")}


def failure(folder, *args, **kwargs) -> str:
    with pytest.raises(fetching.NotFound) as error:
        fetching.obtain(*args, **kwargs)
    return str(error.value)


def test_a_good_file(tmp_path):
    with serve(BODY) as origin:
        found = fetching.obtain(wanted(origin.address), where(tmp_path))
        assert found.path.read_bytes() == BODY and found.place == origin.address and found.count == 120
        assert left(tmp_path) == {"facts.json", "facts.json.from"}
        again = fetching.obtain(wanted(origin.address), where(tmp_path))
        assert origin.asked == [None], "what is here and right is not fetched again"
        assert again == found, "and where it came from is remembered"
    assert [row["id"] for row in found.records] == [str(number) for number in range(120)]
    assert len({row["sha256"] for row in found.records}) == 120


@pytest.mark.parametrize(
    ("body", "more", "said"),
    [
        (BODY[:-1] + b" ", {"sha256": HASH}, "sha256 .*, expected .*: truncated or damaged: not valid"),
        (BODY[:-1] + b"\n]", {"bytes": len(BODY) + 1, "sha256": HASH}, "another version of it, with 120 records"),
        (BODY[:90000], {"bytes": len(BODY)}, f"has 90,000 bytes, expected {len(BODY):,}"),
        (BODY[:90000], {"bytes": None, "sha256": None}, "not valid json .* truncated"),
        (POINTER, {}, "a Git-LFS pointer"),
        (POINTER, {"bytes": None, "sha256": None}, "a Git-LFS pointer"),
        (b"<!DOCTYPE html><html><body>Please log in</body></html>", {}, "a web page \\(HTML\\)"),
        (b"", {"bytes": None, "sha256": None}, "the file is empty"),
        (json.dumps(FACTS[:-1]).encode(), {"bytes": None, "sha256": None}, "119 records, expected 120"),
        (json.dumps([*FACTS, fact(7)]).encode(), {"bytes": None, "sha256": None}, "case_id 7 occurs twice"),
    ],
)
def test_another_file_is_named_and_nothing_stays(tmp_path, body, more, said):
    with serve(body) as origin:
        text = failure(tmp_path, wanted(origin.address, body=body, **more), where(tmp_path))
        assert len(origin.asked) == 1, "asking again would not help"
    assert re.search(said, text), text
    assert origin.address in text and left(tmp_path) == set()
    assert not (tmp_path / "store" / "facts.json").exists()


def test_not_found_names_every_place(tmp_path):
    with serve(BODY, [404]) as first, serve(BODY, [403]) as second:
        mirror = second.address.removesuffix("/facts.json")
        text = failure(
            tmp_path,
            wanted(first.address, str(tmp_path / "nowhere.json")),
            where(tmp_path, local=(tmp_path,), mirrors=(mirror,)),
        )
        assert first.asked == second.asked == [None]
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "facts.json: no place has it"
    local = [str(tmp_path / name) for name in ("facts.json", "store/facts.json", "nowhere.json")]
    assert [line.split(": ")[0] for line in lines[1:6]] == [*local, second.address, first.address]
    assert "answers 403" in lines[4] and "answers 404" in lines[5] and lines[6].startswith("right: put the file into")
    assert left(tmp_path) == set()


def test_a_server_that_recovers(tmp_path):
    with serve(BODY, [503, 500]) as origin:
        assert fetching.obtain(wanted(origin.address), where(tmp_path)).path.read_bytes() == BODY
        assert len(origin.asked) == 3
    with serve(BODY, [503] * 9) as origin:
        text = failure(tmp_path, wanted(origin.address), where(tmp_path / "other"))
        assert "503 Service Unavailable (tried 3 times)" in text and len(origin.asked) == 3


@pytest.mark.parametrize("kind", ["cut", "stall"])
def test_an_interrupted_download_goes_on_where_it_was(tmp_path, kind):
    with serve(BODY, [(kind, 140000)]) as origin:
        assert fetching.obtain(wanted(origin.address), where(tmp_path)).path.read_bytes() == BODY
        assert origin.asked == [None, "bytes=131072-"], "only the rest is asked for"
    assert left(tmp_path) == {"facts.json", "facts.json.from"}


@pytest.mark.parametrize(
    ("kind", "said"), [("cut", "ended after 196,608 .*truncated"), ("stall", "no byte for 0.5 seconds")]
)
def test_a_part_stays_under_its_own_name_and_serves_the_next_run(tmp_path, kind, said):
    with serve(BODY, [(kind, 70000)] * 3) as origin:
        text = failure(tmp_path, wanted(origin.address), where(tmp_path))
        assert re.search(said, text), text
        assert left(tmp_path) == {"facts.json.part", "facts.json.part.json"}
        assert (tmp_path / "store/facts.json.part").read_bytes() == BODY[: 3 * 65536]
        assert fetching.obtain(wanted(origin.address), where(tmp_path)).path.read_bytes() == BODY
        assert origin.asked == [None, "bytes=65536-", "bytes=131072-", "bytes=196608-"]


def test_parts_of_another_version_are_not_gone_on_with(tmp_path):
    other = json.dumps([fact(number, subject=f"Zoé {number}") for number in range(120)]).encode()
    with serve(other, [("cut", 70000)] + [503] * 2) as origin:
        failure(tmp_path, wanted(origin.address), where(tmp_path))
        origin.body = BODY
        assert fetching.obtain(wanted(origin.address), where(tmp_path)).path.read_bytes() == BODY
        assert origin.asked[-1] == "bytes=65536-", (
            "the server is asked for the rest of the old version, and sends the new"
        )
    with serve(BODY, [("cut", 70000)], ranges=False) as origin:
        fetching.obtain(wanted(origin.address), where(tmp_path / "second"))
    with serve(BODY) as origin:  # whole, but the run was stopped before it got its name
        folder = tmp_path / "third/store"
        folder.mkdir(parents=True)
        (folder / "facts.json.part").write_bytes(BODY)
        (folder / "facts.json.part.json").write_text(json.dumps({"url": origin.address, "version": origin.version}))
        fetching.obtain(wanted(origin.address), where(tmp_path / "third"))
        assert origin.asked == [f"bytes={len(BODY)}-"]


def test_a_server_that_packs_what_it_sends(tmp_path):
    """Its lengths are those of the packed file, and its parts cannot be gone on with."""
    with serve(BODY, packed=True) as origin:
        assert fetching.obtain(wanted(origin.address), where(tmp_path)).path.read_bytes() == BODY
    with serve(BODY, [("cut", 900)] * 2, packed=True) as origin:
        assert fetching.obtain(wanted(origin.address), where(tmp_path / "other")).path.read_bytes() == BODY
        assert origin.asked == [None] * 3


def test_a_length_that_is_not_said(tmp_path):
    with serve(BODY, length=False) as origin:
        assert fetching.obtain(wanted(origin.address), where(tmp_path)).count == 120
    with serve(BODY[:100000], length=False) as origin:
        text = failure(tmp_path, wanted(origin.address), where(tmp_path / "other"))
    assert f"100,000 of {len(BODY):,} bytes: the file is truncated" in text


def test_local_folders_come_first_and_a_wrong_file_there_is_said(tmp_path, capfd):
    given = tmp_path / "given"
    given.mkdir()
    (given / "facts.json").write_bytes(BODY)
    with serve(BODY) as origin:
        found = fetching.obtain(wanted(origin.address), where(tmp_path, local=(given,)))
        assert found.path == given / "facts.json" and found.place == "local folder" and origin.asked == []
        (given / "facts.json").write_bytes(BODY[:-9])
        found = fetching.obtain(wanted(origin.address), where(tmp_path, local=(given,)))
        assert found.place == origin.address and sorted(given.iterdir()) == [given / "facts.json"]
    assert f"passed over\n  {given}/facts.json: {len(BODY) - 9:,} bytes" in capfd.readouterr().err


def test_offline_touches_no_network(tmp_path, monkeypatch):
    def refuse(*args):
        raise AssertionError("the network was touched")

    section = {"attempts": 1, "timeout": 1, "pause": 0, "mirrors": ["http://mirror.invalid/x"], "counts": {}}
    around = fetching.where(section, tmp_path / "store", {"HF_HUB_OFFLINE": "1"})
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    text = failure(tmp_path, wanted("https://origin.invalid/facts.json", "hub:a/b"), around)
    assert text.count("not asked: HF_HUB_OFFLINE is 1") == 3
    with pytest.raises(fetching.NotFound, match=r"ENGRAM_DATA_DIR: .*nowhere is not a folder"):
        fetching.where(section, tmp_path, {"ENGRAM_DATA_DIR": str(tmp_path / "nowhere")})


@pytest.mark.parametrize("name", ["../facts.json", "/etc/passwd", "a/b.json", ".hidden", "", "a\n"])
def test_names_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(ValueError, match="is not the name of a file"):
        fetching.obtain(Original(name, "counterfact", "none"), where(tmp_path))


@pytest.mark.parametrize(
    "place", ["file:///etc/passwd", "ftp://host/facts.json", "http:///facts.json", "hub:a/b", "gopher:x"]
)
def test_only_http_and_local_places(tmp_path, place):
    text = failure(tmp_path, wanted(place), where(tmp_path))
    assert "only http:// and https://" in text or "places for articles alone" in text


def test_a_redirection_cannot_leave_http(tmp_path, monkeypatch):
    import file_server as server

    def elsewhere(self):
        self.send_response(302)
        self.send_header("Location", "file:///etc/passwd")
        self.end_headers()

    monkeypatch.setattr(server.Handler, "do_GET", elsewhere)
    with serve(BODY) as origin:
        assert "InvalidSchema" in failure(tmp_path, wanted(origin.address), where(tmp_path))


def test_counterfact_under_the_other_name(tmp_path):
    """By its number of records, and by records that contradict each other."""
    counts, unknown = {120: "counterfact.json", 100: "multi_counterfact.json"}, {"bytes": None, "sha256": None}
    multi = {"schema": "multi-counterfact", "records": 100, **unknown}
    clash = [*FACTS, fact(120, subject="Zoë 3", target_new={"str": "Danish", "id": "Q9"})]
    for values, asked, said in (
        (FACTS, multi, "120 records, expected 100: this is counterfact.json under the name of facts.json"),
        (
            FACTS[:100],
            unknown,
            "100 records, expected 120: this is multi_counterfact.json under the name of facts.json",
        ),
        (FACTS[:100], {}, "expected .* bytes|has .* bytes, expected"),
        (clash, multi, "this is plain CounterFact under the name of MultiCounterFact: 1 records"),
    ):
        body = json.dumps(values).encode()
        with serve(body) as origin:
            text = failure(tmp_path, wanted(origin.address, **asked), where(tmp_path, counts=counts))
        assert re.search(said, text), text
    assert "case_id 120: asks for 'Danish' where case_id 3 asks for 'Welsh' (prompt 'Zoë 3 speaks')" in text
    (tmp_path / "facts.json").write_text(json.dumps(FACTS[:100]))
    text = failure(tmp_path, wanted(), where(tmp_path, local=(tmp_path,), counts=counts))
    assert f"expected {len(BODY):,}: this is multi_counterfact.json under the name of facts.json" in text


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
        with pa.OSFile(str(given / "wikipedia.arrow"), "wb") as sink:
            with (pa.ipc.new_stream if form == "stream" else pa.ipc.new_file)(sink, table.schema) as writer:
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
