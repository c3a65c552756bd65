"""Downloads that are cut, stall, are packed or redirected: the whole file in the end, or an error."""

import json
import re

import pytest

from engram.datasets import fetching
from file_server import serve
from original_files import BODY, fact, failure, left, wanted, where


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


def test_a_redirection_cannot_leave_http(tmp_path, monkeypatch):
    import file_server as server

    def elsewhere(self):
        self.send_response(302)
        self.send_header("Location", "file:///etc/passwd")
        self.end_headers()

    monkeypatch.setattr(server.Handler, "do_GET", elsewhere)
    with serve(BODY) as origin:
        assert "InvalidSchema" in failure(tmp_path, wanted(origin.address), where(tmp_path))
