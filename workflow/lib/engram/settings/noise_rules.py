"""How a subject may be corrupted: the rules of causal tracing's noise, as they are written (ROME Sec. 2.1, App. B).

    rule      noise on an embedding                                            kind
    0.1       0.1 x N(0, 1)                                                    number
    s<f>      f x spread x N(0, 1); spread: standard deviation of the subjects' token embeddings; `s` alone: f = 1   std
    u<a>      a x Uniform(-1, 1)                                               uniform
    us<f>     f x spread x Uniform(-1, 1); `us` alone: f = 1                   uniform_std
    m         normal with the mean and covariance of a text's token embeddings normal
    t<d>      Student-t with that covariance and d > 2 degrees of freedom      student

PAPER: ROME Fig. 13 shows uniform noise of +-3 standard deviations, `us3`.
DIFFERS: the original code knows uniform noise with an explicit bound only, `u<a>`.
"""

import re
from dataclasses import dataclass

RULES = "a number above 0 such as 0.1, s<factor>, u<bound>, us<factor>, m, or t<degrees of freedom above 2>"
KINDS = {"": "number", "s": "std", "u": "uniform", "us": "uniform_std", "m": "normal", "t": "student"}


@dataclass(frozen=True)
class Rule:
    """`kind` is one of KINDS' values; `value` the rule's number (0 for normal)."""

    kind: str
    value: float

    @property
    def needs_text(self) -> bool:
        """Whether the moments of a text's embeddings enter the noise."""
        return self.kind in ("normal", "student")

    def sigma(self, spread: float) -> float | None:
        """What the unit draw is multiplied with, given the spread of the subjects' embeddings; None for vectors."""
        factor = {"std": spread, "uniform_std": spread, "number": 1.0, "uniform": 1.0}.get(self.kind)
        return None if factor is None else self.value * factor


def rule(text: object) -> Rule:
    """The rule that `noise` of a model or of a variant of tracing writes. ValueError for anything else."""
    found = re.fullmatch(r"(us|s|u|m|t|)(\d+(?:\.\d*)?(?:e-?\d+)?|\.\d+|)", str(text))
    letters, digits = found.groups() if found else ("?", "")
    kind = KINDS.get(letters)
    digits = digits or ("1" if letters in ("s", "us") else "")
    value = float(digits or 0)
    if (
        kind is None
        or (kind == "normal") == bool(digits)
        or (kind == "student" and value <= 2)
        or (kind != "normal" and value <= 0)
    ):
        raise ValueError(f"noise rule {text!r}: expected {RULES}")
    return Rule(kind, value)


def described(text: object) -> str:
    """The rule in words, for a figure."""
    parsed = rule(text)
    value = f"{parsed.value:g}"
    return {
        "number": f"Gaussian noise, σ = {value}",
        "std": f"Gaussian noise, {value} σ of the subjects' embeddings",
        "uniform": f"uniform noise, ±{value}",
        "uniform_std": f"uniform noise, ±{value} σ of the subjects' embeddings",
        "normal": "multivariate Gaussian noise with the moments of a text's embeddings",
        "student": f"multivariate Student noise ({value} degrees) with the covariance of a text's embeddings",
    }[parsed.kind]
