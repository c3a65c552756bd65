"""Reverse questions: every fact can be asked from its object to its subject, in a wording of the training text."""

from engram.datasets import world
from small_world import WORLD


def test_every_fact_of_a_world_can_be_asked_in_the_other_order():
    """One of the prompts begins with the subject; the wording is one of the training text."""
    tables = world.tables(WORLD | {"relations": 8, "documents": 4000}, 0)
    both = tables["facts"].merge(tables["reversed"], on="case_id", suffixes=("", "_reverse"))
    assert len(both) == len(tables["facts"]) == 320
    corpus = " ".join(tables["corpus"]["text"])
    asked = {row.prompt_reverse.replace(row.subject, "{}"): row for row in both.itertuples()}
    assert len(asked) == 16
    for template, row in asked.items():
        assert template.startswith("{}") != row.prompt.startswith("{}") and template.count("{}") == 1
        said = [
            template.format(one.subject) + f" {one.target_true}." in corpus
            for one in both[both["relation_id"] == row.relation_id].itertuples()
        ]
        assert sum(said) > 5, template
