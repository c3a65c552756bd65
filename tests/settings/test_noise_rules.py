"""Rules of noise: the word in params.yaml, and how a figure describes it."""

import pytest

from engram.settings import noise_rules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3", ("std", 3)),
        ("s", ("std", 1)),
        (0.1, ("number", 0.1)),
        ("1e-2", ("number", 0.01)),
        ("u0.5", ("uniform", 0.5)),
        ("us3", ("uniform_std", 3)),
        ("us", ("uniform_std", 1)),
        ("m", ("normal", 0)),
        ("t5", ("student", 5)),
    ],
)
def test_rules(text, expected):
    assert noise_rules.rule(text) == noise_rules.Rule(*expected)
    words = {
        "number": "Gaussian",
        "std": "σ of the subjects",
        "uniform": "±0.5",
        "uniform_std": "±",
        "normal": "text",
        "student": "5 degrees",
    }
    assert words[expected[0]] in noise_rules.described(text)


@pytest.mark.parametrize("text", ["", "x3", "m3", "t", "t2", "s-1", "u", 0, "3s", None, -0.1, "us0", "su3", "u-1"])
def test_a_wrong_rule_is_named(text):
    with pytest.raises(ValueError, match="s<factor>"):
        noise_rules.rule(text)
