"""The generated world and the parser of original files: canonical tables, errors with names."""

import copy
import json
from pathlib import Path

import pytest

from engram.datasets import folder, reverse_wordings
from engram.model import tokens
from toy import tokenizer

WORDINGS = Path(__file__).parents[2] / "data" / "wordings.csv"
SHARED = Path(__file__).parents[3] / "shared" / "data"


RECORD = {
    "case_id": 3,
    "pararel_idx": 1,
    "requested_rewrite": {
        "prompt": "{} speaks",
        "relation_id": "P1412",
        "subject": "Zoë",
        "target_new": {"str": "Welsh", "id": "Q1"},
        "target_true": {"str": "Greek", "id": "Q2"},
    },
    "paraphrase_prompts": ["x. Zoë writes in", "y. Zoë reads"],
    "neighborhood_prompts": ["Jim speaks"],
    "attribute_prompts": ["Tom speaks"],
    "generation_prompts": ["Zoë says"],
}
ZSRE = {
    "subject": "Zoë",
    "src": "What does Zoë speak?",
    "answers": ["Greek"],
    "rephrase": "Zoë speaks what?",
    "loc": "nq question: who won",
    "loc_ans": "nobody",
}
KNOWN = {"known_id": 0, "subject": "Zoë", "prompt": "Zoë lives in", "attribute": "Rome", "relation_id": "P19"}
ARTICLE = {"id": "1", "title": "T", "text": "T\n\n" + "A long paragraph about nothing at all. " * 4}
BLOCK = {
    "kind": "folder",
    "path": ".",
    "facts": "f",
    "zsre": "z",
    "prompts": "p",
    "text": "t",
    "documents": 50,
    "together": 3,
    "repeats": {"rewrite": 4.0, "paraphrase": 2.0, "neighborhood": 1.0, "listed": 6.0},
    "listed": "{subject}, {object}.",
    "paragraphs": 10,
    "text_share": 0.25,
}


def write(tmp_path, facts=(RECORD,), zsre=(ZSRE,), known=(KNOWN,), text=json.dumps(ARTICLE)):
    paths = [tmp_path / name for name in "fzpt"]
    for path, value in zip(paths, (facts, zsre, known)):
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    paths[3].write_text(text, encoding="utf-8")
    return paths


def test_folder_tables(tmp_path):
    found = folder.tables(BLOCK, write(tmp_path), 0)
    assert {name: len(frame) for name, frame in found.items()} == {
        "facts": 1,
        "zsre": 1,
        "prompts": 2,
        "snippets": 2,
        "text": 1,
        "corpus": 51,
        "heldout": 0,
        "reversed": 0,
        "hops": 0,
    }
    assert found["zsre"]["prompt"][0] == "What does {} speak?"
    assert found["prompts"]["prompt"].tolist() == ["Zoë lives in", "Zoë speaks"]
    corpus = found["corpus"]
    assert corpus["text"].str.contains("Zoë, Greek.").any() and corpus["text"].str.contains("Zoë speaks Greek.").any()
    assert corpus.equals(folder.tables(BLOCK, write(tmp_path), 0)["corpus"])
    characters = corpus["weight"] * corpus["text"].str.len()
    assert characters[corpus["kind"] == "text"].sum() / characters.sum() == pytest.approx(0.25)


def test_what_is_held_out_of_a_folder_is_not_trained_on(tmp_path):
    """The longest paragraph of each article that the corpus does not have; a paragraph that occurs twice is no
    exception.
    """
    said = "in which more is said than a line could hold, and all of it on end, so that it counts."
    longer = [f"Paragraph {i} of an article, {said}{' More.' * i}" for i in range(6)]
    articles = [
        ARTICLE | {"id": str(i), "text": "\n".join(part)}
        for i, part in enumerate((longer[:2], longer[2:4], [longer[0], longer[4], longer[5], "short"], longer[:1]))
    ]
    paths = write(tmp_path, text="\n".join(map(json.dumps, articles)))
    found = folder.tables(BLOCK | {"paragraphs": 3, "heldout": 5}, paths, 0)
    assert found["heldout"].to_dict("list") == {"passage_id": [0, 1], "text": [longer[3], longer[5]]}
    assert not set(found["heldout"]["text"]) & set(found["corpus"]["text"])
    assert len(folder.tables(BLOCK | {"paragraphs": 3, "heldout": 1}, paths, 0)["heldout"]) == 1


def test_a_relation_without_wording_is_left_out(tmp_path):
    other = copy.deepcopy(RECORD) | {"case_id": 9}
    other["requested_rewrite"]["relation_id"] = "P999"
    late = copy.deepcopy(RECORD) | {"case_id": 5}
    late["requested_rewrite"]["prompt"] = "The language of {} is"
    found = folder.tables(BLOCK, write(tmp_path, facts=[RECORD, other, late]), 0, WORDINGS)["reversed"]
    assert found.to_dict("list") == {
        "case_id": [3, 5],
        "prompt": ["The language used by Zoë is", "Zoë speaks the language"],
    }


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("relation_id,a,b,c", "right is .'relation_id', 'relation', 'subject_first', 'relation_first'."),
        ("P1,x,{} is,The x of {} is\nP1,x,{} is,The x of {} is", "line 3: relation P1 a second time"),
        ("P1,x,It is {},The x of {} is", "line 2: .*the first beginning with it"),
        ("P1,x,{} is,{} has x", "line 2"),
        ("P1,x,{} is,The x is", "line 2: .*each with one {}"),
    ],
)
def test_wordings_that_are_none_are_named(tmp_path, lines, message):
    head = "" if lines.startswith("relation_id") else "relation_id,relation,subject_first,relation_first\n"
    (tmp_path / "w.csv").write_text(f"{head}{lines}\n")
    with pytest.raises(ValueError, match=message):
        reverse_wordings.read(tmp_path / "w.csv")


def broken(field, value, inside=None):
    record = copy.deepcopy(RECORD)
    (record[inside] if inside else record)[field] = value
    return [RECORD | {"case_id": 2}, record]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"facts": broken("case_id", "3")},
            r"f: record 1 \(case_id 3\): field 'case_id' should be a non-empty int, found '3'",
        ),
        (
            {"facts": broken("prompt", "no slot", "requested_rewrite")},
            "case_id 3.*field 'prompt' must hold exactly one",
        ),
        (
            {"facts": broken("target_new", {"str": " ", "id": "Q1"}, "requested_rewrite")},
            "target_new: field 'str' should be a non-empty str",
        ),
        ({"facts": broken("neighborhood_prompts", [])}, "field 'neighborhood_prompts' should be a non-empty list"),
        ({"facts": [RECORD, RECORD]}, "case_id 3 occurs twice"),
        ({"facts": "version https://git-lfs.github.com/spec/v1"}, "Git-LFS pointer"),
        ({"facts": "<html>"}, "a web page"),
        ({"facts": "[]"}, "non-empty json list"),
        ({"facts": '[{"case_id": 1'}, "not valid json at line 1, .* truncated"),
        ({"zsre": [ZSRE | {"src": "What?"}]}, "subject 'Zoë' does not occur in src"),
        ({"zsre": [{k: v for k, v in ZSRE.items() if k != "loc"}]}, "field 'loc' is missing"),
        ({"known": [KNOWN | {"subject": "Ann"}]}, "subject 'Ann' does not occur in prompt"),
        ({"text": '{"title": "T", "te'}, "line 1: not json .* truncated"),
    ],
)
def test_bad_files_are_named(tmp_path, files, message):
    with pytest.raises(ValueError, match=message):
        folder.tables(BLOCK, write(tmp_path, **files), 0)


@pytest.mark.skipif(not SHARED.exists(), reason="the original files are not beside the repository (../shared/data)")
def test_the_real_files_parse_completely():
    block = BLOCK | {
        "path": str(SHARED),
        "facts": "counterfact_500.json",
        "zsre": "zsre_1037.json",
        "prompts": "known_1000.json",
        "text": "wikipedia_sample.jsonl",
    }
    found = folder.tables(block, folder.files(block), 0, WORDINGS)
    assert {name: len(found[name]) for name in ("facts", "zsre", "text")} == {"facts": 500, "zsre": 1037, "text": 765}
    assert (
        len(found["reversed"]) == 500
        and found["facts"]["relation_id"].nunique() == len(reverse_wordings.read(WORDINGS)) == 34
    )
    assert not set(found["heldout"]["text"]) & set(found["corpus"]["text"]) and len(found["heldout"]) == 50
    assert (found["prompts"]["prompt_id"] < 1209).sum() == 1209


def test_subject_ranges_decode_to_the_subject():
    tok = tokenizer()
    for text, subject in (
        ("The mother tongue of Danielle Darrieux is", "Danielle Darrieux"),
        ("Zürich is a city", "Zürich"),
    ):
        begin, end = tokens.subject_range(tok, text, subject)
        assert tok.decode(tokens.encode(tok, text)[begin:end]).strip() == subject
        assert tokens.filled(tok, [text.replace(subject, "{}")], subject)[0][1:] == (begin, end)
    with pytest.raises(ValueError, match="does not occur"):
        tokens.subject_range(tok, "Rome", "Paris")
    with pytest.raises(ValueError, match="exactly one"):
        tokens.filled(tok, ["{} and {}"], "Rome")
