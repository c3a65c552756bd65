"""The sections of params.yaml: closed, strict, described; the schema for editors is made from them."""

import dataclasses

import pytest

from engram.settings import (
    blocks,
    checking,
    execution,
    items,
    models,
    objective,
    schema,
    sections,
    sources,
    trained_editors,
    tuning,
)
from repository import ROOT

MODULES = (execution, items, models, objective, schema, sources, sections, trained_editors, tuning)
BLOCKS = {
    value.__qualname__: value
    for module in MODULES
    for value in vars(module).values()
    if dataclasses.is_dataclass(value) and isinstance(value, type) and hasattr(value, "__pydantic_fields__")
}


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_is_frozen_closed_and_described(name):
    kind = BLOCKS[name]
    assert kind.__pydantic_config__["extra"] == "forbid" and kind.__pydantic_config__["strict"]
    assert kind.__dataclass_params__.frozen and kind.__doc__
    assert [key for key, field in kind.__pydantic_fields__.items() if not field.description] == []


def test_the_schema_for_editors_is_the_one_of_the_code():
    """Else: python -m engram.settings.schema > workflow/params.schema.json."""
    assert (ROOT / "workflow/params.schema.json").read_text(encoding="utf-8") == schema.schema()


@blocks.block
class Toy:
    """For the tests below."""

    whole: blocks.Count = blocks.key("A number.")
    part: blocks.Share = blocks.key("A share.", default=0.5)
    yes: bool = blocks.key("A truth value.", default=False)


@pytest.mark.parametrize(
    ("values", "key", "right"),
    [
        ({"whole": True}, "whole", "a whole number; A number."),
        ({"whole": "3"}, "whole", "a whole number; A number."),
        ({"whole": 3.0}, "whole", "a whole number; A number."),
        ({"whole": 0}, "whole", "at least 1; A number."),
        ({"whole": 1, "part": "1e-3"}, "part", "a number (YAML reads 1e-3 as a word: write 0.001); A share."),
        ({"whole": 1, "part": True}, "part", "a number; A share."),
        ({"whole": 1, "part": float("nan")}, "part", "a number; A share."),
        ({"whole": 1, "part": 2}, "part", "at most 1; A share."),
        ({"whole": 1, "yes": 1}, "yes", "true or false; A truth value."),
        ({"whole": 1, "yess": True}, "yess", "did you mean `yes`? known are part, whole, yes"),
        ({}, "whole", "A number."),
        ([], None, "a block of keys"),
    ],
)
def test_nothing_is_taken_for_what_it_is_not(values, key, right):
    (problem,) = checking.problems(Toy, values, ("here",))
    assert problem.key == ("here", *([key] if key else [])) and problem.right == right
    with pytest.raises(ValueError, match="at here: "):
        blocks.build(Toy, values, "at here")


def test_numbers_stay_as_they_are_written():
    assert isinstance(blocks.build(Toy, {"whole": 1, "part": 1}, "toy").part, int), "some are written into artifacts"
