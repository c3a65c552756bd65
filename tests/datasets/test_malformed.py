"""Malformed records, texts and settings by the hundred: every parser gives a valid result or a ValueError that says
where.
"""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import original_files
from engram.datasets import download, fetching, folder, original_formats, world
from engram.model import tokens
from toy import tokenizer

FACT = original_files.fact(0, "x", prompt="{} is in", subject="Rome")
GOOD = {
    "counterfact": [FACT],
    "multi-counterfact": [FACT],
    "vocabulary": {"a": 0, "b": 1},
    "zsre": [
        {
            "subject": "Rome",
            "src": "Where is Rome?",
            "answers": ["x"],
            "rephrase": "y",
            "loc": "nq question: who",
            "loc_ans": "z",
        }
    ],
    "prompts": [{"known_id": 1, "subject": "Rome", "prompt": "Rome is", "relation_id": "P", "attribute": "x"}],
    "snippets": [{"relation_id": "P", "target_id": "Q", "samples": [{"name": "n", "text": "t"}]}],
    "articles": {"id": 1, "title": "t", "text": "x"},
}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(2**63),
    st.floats(),
    st.text(max_size=5),
    st.just("\ud800"),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)
HEADS = [
    b"",
    b"[",
    b"[{",
    b"{",
    b"PK\x03\x04",
    b"\x80\x02",
    b"\x93NUMPY\x01\x00",
    b"[" * 100_000,
    b"9" * 5000,
    b'{"a":' * 50_000,
    b"\xff\xfe",
    b"\x00",
    b"version https://git-lfs",
    b"<html>",
]


def often(count):
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


def places_in(value, at=()):
    """The way to every value inside of a json value."""
    yield at
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places_in(one, (*at, key))


def changed(value, at, new, gone):
    """A copy with the value at `at` replaced, or gone."""
    if not at:
        return new
    value = node = json.loads(json.dumps(value))
    for key in at[:-1]:
        node = node[key]
    node[at[-1]] = new
    if gone:
        del node[at[-1]]
    return value


def refusal(work, *args) -> str | None:
    """What the ValueError says that `work` ends with; None if it does not end with one."""
    try:
        work(*args)
    except ValueError as error:
        return str(error)
    return None


def read(file, schema):
    """Parse; anything but a result or a ValueError that names the file fails."""
    error = refusal(original_formats.index, file, schema)
    assert error is None or str(file) in error


@often(500)
@given(st.data())
def test_records(tmp_path, data):
    schema = data.draw(st.sampled_from(sorted(GOOD)))
    value = changed(
        GOOD[schema],
        data.draw(st.sampled_from(list(places_in(GOOD[schema])))),
        data.draw(VALUES),
        data.draw(st.booleans()),
    )
    text = json.dumps(value)
    file = tmp_path / "file"
    file.write_text(text[: data.draw(st.one_of(st.none(), st.integers(0, len(text))))])
    read(file, schema)


@pytest.mark.parametrize("schema", sorted(GOOD))
def test_the_records_are_good_as_they_are(tmp_path, schema):
    (tmp_path / "file").write_text(json.dumps(GOOD[schema]))
    original_formats.index(tmp_path / "file", schema)


@often(150)
@given(
    schema=st.sampled_from(sorted(original_formats.PARSERS)), head=st.sampled_from(HEADS), rest=st.binary(max_size=40)
)
def test_bytes(tmp_path, schema, head, rest):
    (tmp_path / "file").write_bytes(head + rest)
    read(tmp_path / "file", schema)


@pytest.mark.parametrize("shape", [(10**18,), (3,), (-1,), (2, 2)])
def test_headers_of_numpy(tmp_path, shape):
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    (tmp_path / "file").write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + bytes(8))
    with pytest.raises(ValueError, match="file"):
        original_formats.idf(tmp_path / "file")
    np.savez(tmp_path / "several.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="not an array of numpy"):
        original_formats.idf(tmp_path / "several.npz")


@often(300)
@given(before=st.text(max_size=10), subject=st.text(max_size=6), after=st.text(max_size=6))
def test_subjects_in_texts(before, subject, after):
    """A range inside of the prompt, or a ValueError."""
    kind = tokenizer()

    def work():
        begin, end = tokens.subject_range(kind, before + subject + after, subject)
        assert 0 <= begin < end <= len(tokens.prompt(kind, before + subject + after))
        tokens.filled(kind, [before.replace("{}", "") + "{}", after], subject)

    assert refusal(work) != ""


BLOCKS = st.fixed_dictionaries(
    {
        "subjects": st.integers(1, 30),
        "relations": st.integers(1, 9),
        "objects": st.integers(1, 12),
        "documents": st.integers(1, 20),
        "articles": st.integers(1, 4),
        "listed": st.floats(0, 1),
        "four_words": st.floats(0, 1),
    }
)


@often(60)
@given(block=BLOCKS)
def test_worlds(block):
    """Tables, or a ValueError that names the section."""

    def work():
        found = world.tables({"kind": "world"} | block, 0)
        assert [name for name, frame in found.items() if not len(frame)] == ["hops"]

    assert (refusal(work) or "sources").startswith("sources")


@pytest.mark.parametrize(
    "change", [{"text_share": 1.0}, {"repeats": dict.fromkeys(("rewrite", "paraphrase", "neighborhood", "listed"), 0)}]
)
def test_a_corpus_of_nothing(tmp_path, change):
    files = [tmp_path / name for name in ("counterfact", "zsre", "prompts", "articles")]
    for file in files:
        value = GOOD[file.name] | {"text": "x" * 100} if file.name == "articles" else GOOD[file.name]
        file.write_text(json.dumps(value))
    block = {
        "kind": "folder",
        "path": ".",
        "facts": "f",
        "zsre": "z",
        "prompts": "p",
        "text": "t",
        "documents": 3,
        "together": 1,
        "repeats": {"rewrite": 1, "paraphrase": 1, "neighborhood": 1, "listed": 1},
        "listed": "{subject}, {object}.",
        "paragraphs": 2,
        "text_share": 0.5,
    }
    assert len(folder.tables(block, files, 0)["corpus"])
    with pytest.raises(ValueError, match="the corpus holds statements"):
        folder.tables(block | change, files, 0)


@often(100)
@given(
    name=st.one_of(st.text(max_size=12), st.sampled_from(["../x", "a/b", "..", ".", "", "a\nb", "a\x00", "$(x)", "-x"]))
)
def test_names_of_files_stay_in_their_folder(tmp_path, name):
    """What a place gives is never put outside of the store, whatever the file is called."""
    wanted = fetching.Original(name, "prompts", "none", places=(f"http://127.0.0.1:9/{name}",))
    store = tmp_path / "in" / "store"
    with contextlib.suppress(ValueError, fetching.NotFound):  # refused, or nowhere
        fetching.obtain(wanted, fetching.Surroundings(store, patience=fetching.Patience(1, 0.1, 0.0), offline="test"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and store not in path.parents]


@often(60)
@given(
    url=st.one_of(
        st.text(max_size=20), st.sampled_from(["file:///x", "ftp://x/y", "http:///x", "../x", "//x/y", "data:,x"])
    )
)
def test_addresses_that_are_none(tmp_path, url):
    if url.startswith(("http://", "https://")) and url != "http:///x":
        return
    with pytest.raises(download.NotHere):
        download.download(url, tmp_path / "part", download.Patience(1, 0.1, 0.0))
