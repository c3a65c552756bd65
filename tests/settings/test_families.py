"""Methods that share optimised values: one artifact, whose settings are the family's alone."""

from typing import Literal

import pytest
from pydantic import Field

from engram.settings import families, objective
from engram.settings.blocks import Positive, block

OWN = {"layer": 5, "steps": 20, "rate": 0.5, "contexts": "rome"}
VALUES = {
    "prefixes": {"families": {"rome": {"lengths": [[5, 10], [10, 10]]}, "memit": {"lengths": [[12, 1]]}}},
    "methods": {
        "none": {},
        "ft": {"mini": {"layer": 1}},
        "rome": {"mini": OWN},
        "r-rome": {"mini": {"family": "rome", "layer": 5}},
        "memit": {
            "mini": {"layers": [3, 4], "steps": 25, "covariance_weight": 7, "site": "hidden", "contexts": "memit"}
        },
        "emmet": {"mini": {"family": "memit", "ridge": 0.1}},
    },
}


def test_the_settings_of_the_values_are_those_of_the_family_and_nothing_else():
    assert (
        families.family_of(VALUES, "r-rome", "mini") == "rome" and families.family_of(VALUES, "rome", "mini") == "rome"
    )
    assert families.targets_of(VALUES, "rome", "mini") == OWN
    z = families.targets_of(VALUES, "memit", "mini")
    assert z == {"layer": 4, "steps": 25, "site": "hidden", "contexts": "memit"}, (
        "not the weight, which changes no value"
    )


def test_a_method_sees_its_own_block_and_what_its_family_says():
    assert families.method_of(VALUES, "rome", "mini") == {"name": "rome"} | OWN
    defaults = {
        "token": "subject_last",
        "site": "mlp",
        "loss_layer": None,
        "rate": 0.5,
        "weight_decay": 0.5,
        "kl_factor": 0.0625,
        "kl_position": "subject_last",
        "clamp_norm_factor": 4.0,
        "stop_loss": 0.05,
    }
    assert families.method_of(VALUES, "r-rome", "mini") == {"name": "r-rome"} | defaults | OWN
    emmet = families.method_of(VALUES, "emmet", "mini")
    assert {key: emmet[key] for key in VALUES["methods"]["memit"]["mini"] if key in families.KEYS} == {
        "steps": 25,
        "site": "hidden",
        "contexts": "memit",
    }, "what memit says"
    assert emmet["layer"] == 4 and emmet["clamp_norm_factor"] == 0.75 and emmet["rate"] == 0.5, "or has as a default"
    assert set(emmet) == {"name", *families.KEYS, "ridge"}, "but no weight: it is memit's own"
    assert families.method_of(VALUES, "none", "mini") == {"name": "none"}
    assert families.longest(VALUES) == 12


@pytest.mark.parametrize(
    ("block", "key", "says"),
    [
        ({"family": "roome"}, "family", "unknown method"),
        ({"family": "r-rome"}, "family", "a family of its own"),
        ({"family": "none"}, "family", "no values for mini"),
        ({"family": "ft"}, "family", "no artifacts to share"),
        ({"family": "rome", "rate": 0.1}, "rate", "0.1, with the values of `rome`"),
        ({"contexts": "mimit"}, "contexts", "unknown family of contexts"),
    ],
)
def test_a_family_that_cannot_be_used_is_a_problem(block, key, says):
    def found(block):
        values = VALUES | {"methods": VALUES["methods"] | {"p-rome": {"method": "rome", "mini": block}}}
        return list(families.problems(values))

    assert found({"family": "rome", "layer": 5}) == []
    ((where, text, right),) = found(block)
    assert where == ("methods", "p-rome", "mini", key) and says in text and right


def test_the_objective_of_a_method_has_the_defaults_of_the_method():
    @block
    class Own(objective.Settings):
        site: Literal["mlp", "hidden"] = Field("hidden")
        clamp_norm_factor: Positive = Field(0.75)
        weight: Positive = Field()

    found = objective.of_method(Own, {"name": "memit", "layer": 4, "rate": 0.1})
    assert found == objective.Settings(layer=4, site="hidden", clamp_norm_factor=0.75, rate=0.1)
    with pytest.raises(ValueError, match=r"methods\.memit: weight: Unexpected keyword argument"):
        objective.of_method(Own, {"name": "memit", "layer": 4, "weight": 1.0})
