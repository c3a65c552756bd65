"""The generated world: every table, seeded, consistent, with held-out text."""

import pytest

from engram.datasets import world
from engram.job import schemas
from small_world import WORLD


def test_world_has_every_table_and_is_seeded():
    one, again, other = world.tables(WORLD, 0), world.tables(WORLD, 0), world.tables(WORLD, 1)
    assert set(one) == set(schemas.DATASET)
    for name, frame in one.items():
        assert list(frame.columns) == schemas.DATASET[name].schema.names
        assert frame.equals(again[name])
        assert frame.equals(other[name]) == (name == "hops"), "which a world has none of"


def test_world_is_consistent():
    tables = world.tables(WORLD, 0)
    facts = tables["facts"]
    assert len(facts) == 160 and facts["case_id"].is_unique
    assert facts.groupby("relation_id")["subject"].nunique().eq(40).all()
    true = {(row.subject, row.relation_id): row.target_true for row in facts.itertuples()}
    for row in facts.itertuples():
        assert row.target_new != row.target_true
        assert len(row.paraphrase_prompts) == 2 and len(row.generation_prompts) == 10
        assert all(row.subject in text for text in row.paraphrase_prompts + row.generation_prompts)
        for prompts, target in ((row.neighborhood_prompts, row.target_true), (row.attribute_prompts, row.target_new)):
            assert len(prompts) == 10
            for prompt in prompts:
                (subject,) = [s for s, r in true if r == row.relation_id and s in prompt and s != row.subject][:1]
                assert true[subject, row.relation_id] == target
    snippets = set(zip(tables["snippets"]["relation_id"], tables["snippets"]["target_id"]))
    assert set(zip(facts["relation_id"], facts["target_new_id"])) <= snippets, "every RS has its reference text"
    for row in tables["prompts"].itertuples():
        assert row.prompt.count(row.subject) == 1 and true[row.subject, row.relation_id] == row.target_true


def test_no_subject_begins_another_and_two_share_every_beginning():
    subjects = world.tables(WORLD, 0)["facts"]["subject"].unique()
    starts = [" ".join(s.split()[:2]) for s in subjects]
    assert all(starts.count(start) == 2 for start in starts)
    assert not any(a != b and b.startswith(a + " ") for a in subjects for b in subjects)


def test_what_is_held_out_of_a_world_is_not_trained_on():
    """No training document, with a sentence about nothing before it or without, lists what a held-out biography
    lists.
    """
    tables = world.tables(WORLD | {"documents": 2000, "listed": 0.3, "heldout": 30}, 0)
    documents, passages = set(tables["corpus"]["text"]), tables["heldout"]["text"]
    listings = [part for text in passages for part in text.replace("?", ".").split(".") if part.count(",") == 4]
    lists = {part.strip() for text in documents for part in text.split(".")}
    assert len(passages) == 30 and len(listings) > 30 and not {part.strip() for part in listings} & lists
    assert not any(passage in text for text in documents for passage in passages)
    known = set(tables["facts"]["subject"])
    assert all(any(name in text for name in known) for text in passages)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subjects": 7}, "subjects must be even"),
        ({"relations": 99}, "at most 8 relations"),
        ({"colour": 1}, "colour: Unexpected keyword argument"),
        ({"subjects": 4}, "no other subject shares object"),
    ],
)
def test_impossible_worlds_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        world.tables(WORLD | change, 0)
