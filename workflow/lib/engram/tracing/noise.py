"""The corruption of causal tracing (ROME Sec. 2.1, App. B): how large the noise of a model is, and its draws.

How a noise rule is written and read: engram.settings.noise_rules. Where noise is added: engram.tracing.causal_trace.
Shapes: S samples, N tokens, V vocabulary, d width of the token embeddings.

The pass in which a subject is corrupted is engram.tracing.causal_trace.corrupted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from engram.job import seeds
from engram.model.loading import LM
from engram.model.tokens import encode
from engram.settings.noise_rules import rule
from engram.settings.sections import Noise as Config

STREAMS = ("counter", "reference")
_CHI_SQUARES = 1000


def measure(
    lm: LM, text: str | float, subjects: Sequence[str], articles: pd.DataFrame | None, config: Config, seed: int
) -> tuple[dict, dict[str, Tensor]]:
    """The corruption of one model by the noise rule `text`: what noise.json holds, and the tensors beside it.

    The tensors are mean [d] and factor [d, d] for the rules m and t, which read `articles` (column text; ValueError if
    there are none), else {}. `load` makes the Noise of both.

    PAPER: ROME App. B.1 takes the spread over a body of text.
    DIFFERS: as in the original code, `s` is the unbiased std over all elements of the embeddings of all subjects'
    tokens, each subject tokenised alone without a leading space, repeated subjects counted.
    """
    parsed = rule(text)
    elements = _embeddings(lm, torch.tensor([i for subject in subjects for i in encode(lm.tokenizer, subject)]))
    spread = elements.std().item()
    values = {
        "rule": str(text),
        "kind": parsed.kind,
        "sigma": parsed.sigma(spread),
        "embedding_std": spread,
        "count": elements.numel(),
        "subjects": len(subjects),
        "degrees": parsed.value if parsed.kind == "student" else None,
    }
    if not parsed.needs_text:
        return values, {}
    if articles is None:
        raise ValueError(f"noise rule {text!r} needs the table of texts")
    order = seeds.rng(seed, lm.name, "noise").permutation(len(articles))[: config.articles]
    tensors, tokens = _text_moments(lm, articles["text"].iloc[order])
    return values | {"text_tokens": tokens, "articles": len(order)}, tensors


def _embeddings(lm: LM, ids: Tensor) -> Tensor:
    """Token embeddings [.., d] of ids [..], in float64 on the CPU."""
    with torch.inference_mode():
        return lm.module("embed")(ids.to(lm.device)).double().cpu()


def _text_moments(lm: LM, texts: Iterable[str]) -> tuple[dict[str, Tensor], int]:
    """Mean [d] and factor A [d, d], A Aᵀ = covariance, of the embeddings of all tokens of `texts`; their number."""
    counts = torch.zeros(lm.module("embed").get_parameter("weight").shape[0], dtype=torch.float64)
    for text in texts:
        counts += torch.bincount(torch.tensor(encode(lm.tokenizer, text), dtype=torch.long), minlength=len(counts))
    total = int(counts.sum())
    if total < 2:
        raise ValueError("the table of texts holds fewer than two tokens; the noise rules m and t need more")
    table = _embeddings(lm, torch.arange(len(counts)))
    mean = counts @ table / total
    centred = table - mean
    values, vectors = torch.linalg.eigh((centred * counts[:, None]).T @ centred / (total - 1))
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))  # made positive: an eigenvector has no sign
    return {"mean": mean, "factor": (vectors * largest.sign() * values.clamp_min(0).sqrt()).flip(1)}, total


@dataclass(frozen=True)
class Noise:
    """A corruption that can be drawn, with the kind of its rule (engram.settings.noise_rules).

    sigma: standard deviation of normal noise, largest absolute value of uniform noise; mean [d] and factor [d, d]: of
    the rules m and t, instead of sigma; degrees: of freedom of Student's t.
    """

    kind: str
    sigma: float | None
    degrees: float | None = None
    mean: np.ndarray | None = None
    factor: np.ndarray | None = None

    def draw(self, samples: int, tokens: int, width: int, stream: str, key: tuple) -> np.ndarray:
        """Noise [S, N, d] in float64.

        Stream "counter": sample s comes from its own generator, keyed by (*key, s). Stream "reference", as the original
        code: numpy's RandomState(1) made anew for every prompt, in C order (sample, token, dim), and for chi-squares
        RandomState(2).
        """
        if stream not in STREAMS:
            raise ValueError(f"trace.stream is {stream!r}; expected one of {STREAMS}")
        if stream == "reference":
            return self._noise(_Reference(), samples, tokens, width)
        return np.concatenate([self._noise(_Counter((*key, sample)), 1, tokens, width) for sample in range(samples)])

    def _noise(self, source: "_Reference | _Counter", samples: int, tokens: int, width: int) -> np.ndarray:
        if self.kind in ("uniform", "uniform_std"):
            return self.sigma * source.uniform((samples, tokens, width))
        z = source.normal((samples, tokens, width))
        if self.factor is None:
            return self.sigma * z
        drawn = self.mean + z @ self.factor.T
        if self.degrees is not None:
            spread = (self.degrees - 2) / source.chisquare(self.degrees, samples * tokens)
            drawn *= np.sqrt(spread).reshape(samples, tokens, 1)
        return drawn


class _Reference:
    """Draws as the original code: generators of fixed seeds, the same for every prompt."""

    def __init__(self) -> None:
        self.generator = np.random.RandomState(1)

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.generator.randn(*shape)

    def uniform(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.generator.uniform(-1, 1, shape)

    def chisquare(self, degrees: float, count: int) -> np.ndarray:
        if count > _CHI_SQUARES:
            raise ValueError(f"the reference stream has {_CHI_SQUARES} chi-squares, {count} are needed; use counter")
        return np.random.RandomState(2).chisquare(degrees, _CHI_SQUARES)[:count]


class _Counter:
    """Draws of a generator of its own for `key` (engram.job.seeds)."""

    def __init__(self, key: tuple) -> None:
        self.generator = seeds.rng(*key)

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.generator.standard_normal(shape)

    def uniform(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.generator.uniform(-1, 1, shape)

    def chisquare(self, degrees: float, count: int) -> np.ndarray:
        return self.generator.chisquare(degrees, count)


def load(values: dict, tensors: dict[str, Tensor]) -> Noise:
    """The Noise of a noise.json, `values`, and its tensors mean [d] and factor [d, d] ({} unless the rule is m or t).

    ValueError if the rule needs tensors that are not there.
    """
    if values["kind"] in ("normal", "student") and set(tensors) != {"mean", "factor"}:
        raise ValueError(f"noise rule {values['rule']!r}: expected tensors mean and factor, found {sorted(tensors)}")
    vectors = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    return Noise(values["kind"], values["sigma"], values["degrees"], **vectors)
