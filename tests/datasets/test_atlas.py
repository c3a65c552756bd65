"""The atlas: its facts become records that are right, its prompts hold their subject once, its wordings are our own."""

import csv
import json
import re
import shutil

import pytest

from engram.datasets import atlas, atlas_files
from engram.job import schemas
from repository import ROOT

FOLDER = ROOT / "data" / "atlas"
SHARED = ROOT.parent / "shared" / "data"
BLOCK = {"kind": "atlas", "text": "own", "facts": str(FOLDER / "facts.csv"), "wordings": str(FOLDER / "wordings.csv")}
LISTS = ("paraphrase_prompts", "neighborhood_prompts", "attribute_prompts", "generation_prompts")


@pytest.fixture(scope="module")
def found():
    return atlas.tables(BLOCK, atlas.files(BLOCK), 0)


@pytest.fixture(scope="module")
def read():
    return atlas_files.read(FOLDER / "facts.csv", FOLDER / "wordings.csv")


@pytest.fixture(scope="module")
def records(found, read):
    """(record, its fact), for every record."""
    return [(record, read.facts[record.case_id]) for record in found["facts"].itertuples()]


def test_tables_have_their_shapes(found, read):
    assert set(found) == set(schemas.DATASET)
    counts = {name: len(frame) for name, frame in found.items()}
    assert counts["facts"] == counts["zsre"] == counts["reversed"] >= 1500
    assert counts["prompts"] == counts["corpus"] == 2 * counts["snippets"] == 2 * len(read.facts)
    assert counts["text"] == counts["heldout"] == 0 < counts["hops"]
    facts = found["facts"]
    assert set(facts["neighborhood_prompts"].map(len)) == set(facts["attribute_prompts"].map(len)) == {10}
    assert facts["generation_prompts"].map(len).eq(10).all() and facts["paraphrase_prompts"].map(len).ge(2).all()
    assert facts["neighborhood_prompts"].map(lambda prompts: len(set(prompts))).eq(10).all()
    assert facts["case_id"].tolist() == found["zsre"]["case_id"].tolist()
    assert facts.head(100)["relation_id"].nunique() >= 10, "the first are of many relations"


def test_no_new_object_is_true(records, read):
    objects = {(fact.relation, fact.object) for fact in read.facts}
    for record, fact in records:
        assert (record.subject, record.target_true) == (fact.subject, fact.object)
        assert not fact.may_be(record.target_new) and (fact.relation, record.target_new) in objects


@pytest.mark.parametrize("kind", ["neighborhood", "attribute"])
def test_prompts_about_others_have_the_object(kind, records, read):
    """Four other subjects at least, each with that object, none with the other object as well."""
    said = {
        (fact.relation, fact.text(wording)): fact
        for fact in read.facts
        for wording in (*read.words[fact.relation].statement, *read.words[fact.relation].paraphrase)
    }
    for record, fact in records:
        name, but = record.target_true, record.target_new
        if kind == "attribute":
            name, but = but, name
        others = [said[fact.relation, prompt] for prompt in getattr(record, f"{kind}_prompts")]
        assert {other.object for other in others} == {name} and not any(other.may_be(but) for other in others)
        assert len({other.subject for other in others} - {fact.subject}) >= atlas.OTHERS
        assert fact.subject not in {other.subject for other in others}


def test_every_subject_stands_once_as_a_word_in_its_prompts(found, records):
    asked = [(row.prompt, row.subject) for row in found["prompts"].itertuples()]
    asked += [(row.rephrase, row.subject) for row in found["zsre"].itertuples()]
    subjects = {record.case_id: record.subject for record, _ in records}
    asked += [(row.prompt, subjects[row.case_id]) for name in ("reversed", "hops") for row in found[name].itertuples()]
    for record, _ in records:
        asked += [(record.prompt.replace("{}", record.subject), record.subject)]
        asked += [(text, record.subject) for text in (*record.paraphrase_prompts, *record.generation_prompts)]
    wrong = [
        (text, subject)
        for text, subject in asked
        if text.count(subject) != 1 or not re.search(rf"(?<!\w){re.escape(subject)}(?!\w)", text)
    ]
    assert not wrong


def test_articles_stand_before_names_that_have_one(read):
    fact = next(fact for fact in read.facts if (fact.relation, fact.subject) == ("capital", "Netherlands"))
    assert fact.text("{} is") == "The Netherlands is" and fact.template("Parliament in {}") == "Parliament in the {}"
    bare = next(fact for fact in read.facts if fact.subject == "France")
    assert bare.template("Parliament in {}") == "Parliament in {}"


def test_questions_are_about_something_else(found, read):
    rows = found["zsre"].itertuples()
    first = {fact.text(read.words[fact.relation].question[0]).removesuffix("?"): fact for fact in read.facts}
    for row, fact in ((row, read.facts[row.case_id]) for row in rows):
        other = first[row.loc]
        assert other.object == row.loc_target and other.relation != fact.relation and other.subject != fact.subject


def test_hops_follow_from_the_facts(found, read):
    known = {(fact.relation, fact.subject): fact.object for fact in read.facts}
    new = found["facts"].set_index("case_id")["target_new"]
    for row in found["hops"].itertuples():
        fact = read.facts[row.case_id]
        hop = next(one for one in read.words[fact.relation].hop if fact.text(one.template) == row.prompt)
        assert known[hop.via, fact.object] == row.target_true != row.target_new == known[hop.via, new[row.case_id]]
        assert fact.subject not in (row.target_true, row.target_new)


def test_the_same_seed_gives_the_same_and_ids_do_not_depend_on_it(found):
    again, other = (atlas.tables(BLOCK, atlas.files(BLOCK), seed) for seed in (0, 1))
    assert all(frame.equals(again[name]) for name, frame in found.items())
    assert not found["facts"].equals(other["facts"])
    prompts = (one["prompts"].sort_values("prompt_id", ignore_index=True) for one in (found, other))
    assert next(prompts).equals(next(prompts))
    assert set(found["facts"]["case_id"]) == set(other["facts"]["case_id"])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the original files are not beside the repository (../shared/data)")
def test_no_wording_is_of_another_collection():
    """No wording of ours, whatever its subject, is a prompt of CounterFact, zsRE, LRE or of the known facts."""
    files = [SHARED / f"{name}.json" for name in ("counterfact_500", "zsre_1037", "known_1000")]
    texts = [
        text for file in (*files, *(SHARED / "lre").glob("*.json")) for text in strings(json.loads(file.read_text()))
    ]
    every = "\n".join(text.rstrip("?. ") for text in texts).lower()
    with open(FOLDER / "wordings.csv", encoding="utf-8", newline="") as file:
        templates = [row["template"].rstrip("?.").lower() for row in csv.DictReader(file)]
    assert len(templates) > 200
    for template in templates:
        parts = template.split("{}")
        if max(parts, key=len) in every:
            pattern = ".{1,60}".join(map(re.escape, parts))
            assert not re.search(rf"(^|[.?!] ){pattern}( |$)", every, re.MULTILINE), template


def strings(value):
    """All texts in a value of json."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from strings(one)


def test_a_text_of_its_own_file_is_read(tmp_path):
    article = {"id": "1", "title": "T", "text": "T\n\n" + "A long paragraph about nothing at all. " * 4}
    (tmp_path / "text.jsonl").write_text(json.dumps(article))
    block = BLOCK | {"text": str(tmp_path / "text.jsonl"), "heldout": 3}
    found = atlas.tables(block, atlas.files(block), 0)
    assert found["text"]["title"].tolist() == ["T"] and len(found["heldout"]) == 1


# (file, a text in it, what stands there instead, what the message says)
BAD = [
    ("facts", "relation,before", "relation,after", "facts.csv, line 1: columns .*right is .'relation', 'before'"),
    ("facts", "capital,,Albania,Tirana,", "capitol,,Albania,Tirana,", "line 5: relation 'capitol' has no wordings in"),
    ("facts", "capital,,Albania,Tirana,", "capital,,Albania,,", "line 5: column 'object' is empty"),
    ("facts", "capital,,Albania,Tirana,", "capital,,Albania ,Tirana,", "line 5: column 'subject': 'Albania '"),
    ("facts", "capital,,Albania,Tirana,", "capital,,Alb{}ania,Tirana,", "line 5: column 'subject'.*without braces"),
    ("facts", "capital,,Albania,Tirana,", "capital,,Albania,Tirana", "line 5: 4 cells; right is 5"),
    ("facts", "capital,,Albania,Tirana,", "capital,,Albania,Tirana,Tirana", "line 5: aliases .'Tirana'.; right is"),
    ("facts", "capital,,Albania,", "capital,,Algeria,", "line 9: a second capital of 'Algeria', after line 5"),
    ("facts", "capital,,Albania,", "capital,,The government,", "besides its {}"),
    ("facts", "capital,,Albania,", "capital,,ment,", r"line 2: '.*' holds the subject 'ment' \(.*facts.csv, line 5\)"),
    ("wordings", "capital,statement,,", "capital,statment,,", "line 2: kind 'statment'; known are statement"),
    ("wordings", "capital,statement,,", "capitol,statement,,", "line 2: relation 'capitol' has no fact in"),
    ("wordings", "capital,statement,,", "capital,statement,currency,", "line 2: kind statement with via 'currency'"),
    ("wordings", "city_country,hop,capital,", "city_country,hop,,", "kind hop with via ''"),
    ("wordings", "government of {} meets", "government meets", "line 2: template .* exactly one {}"),
    ("wordings", "government of {} meets", "government of {0} meets", "line 2: template .* exactly one {}"),
    ("wordings", "meets in the capital city of", "meets.", "line 2: template .* the object can follow"),
    ("wordings", "government of {}?", "government of {}", "line 6: question .* with a question mark"),
    ("wordings", "capital,reversed,", "continent,reversed,", "relation 'capital': 0 of kind reversed; right is 1"),
    ("wordings", "{} is governed from the city of", "Who governs {} sits in", "right is one that begins with {}"),
    ("wordings", ",sentence,,The bakery", ",sentence,,The Plato bakery", "holds the subject 'Plato'"),
    ("wordings", ",sentence,,The bakery", "capital,sentence,,The bakery", "a sentence with the relation 'capital'"),
    ("wordings", ",sentence,,The", ',sentence,,"The', "wordings.csv: not csv with a row a line"),
]


@pytest.mark.parametrize(("name", "old", "new", "message"), BAD)
def test_what_is_wrong_is_named(name, old, new, message, tmp_path):
    paths = [tmp_path / file for file in ("facts.csv", "wordings.csv")]
    for path in paths:
        shutil.copy(FOLDER / path.name, path)
    path = tmp_path / f"{name}.csv"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        atlas_files.read(*paths)
