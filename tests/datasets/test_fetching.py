"""Original files come from the first place that has them, whole and right, or not at all. A local server plays the
origin.
"""

import json
import re
import socket

import pytest

from engram.datasets import fetching
from engram.datasets.fetching import Original
from file_server import serve
from original_files import BODY, FACTS, HASH, fact, failure, left, wanted, where

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:d017\nsize 45108470\n"


assert len(BODY) > 3 * 65536


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

    section = {"mirrors": ["http://mirror.invalid/x"], "counts": {}}
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
