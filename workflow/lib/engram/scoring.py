"""Log-probabilities of targets after prompts, for many differently edited models at once (spec: ROME Sec. 3.3, App. B).

Shapes: B rows, T tokens, V vocabulary.
"""

from dataclasses import dataclass

import torch

from engram import progress, tokens
from engram.delta import NOTHING, Delta, edited


@dataclass(frozen=True)
class Query:
    """One prompt with one target: which edited model reads it, the token ids of both."""

    delta: int
    prompt_ids: tuple[int, ...]
    target_ids: tuple[int, ...]


@dataclass(frozen=True)
class Score:
    """Mean negative log-likelihood per target token (natural log) and whether every target token is the argmax."""

    nll: float
    correct: bool


def target_ids(tokenizer, target: str) -> tuple[int, ...]:
    """Ids of a target as it follows a prompt: with one space before it. ValueError if it is empty."""
    if not target.strip():
        raise ValueError(f"empty target {target!r}")
    return tuple(tokens.encode(tokenizer, " " + target.strip()))


def _full(logits: torch.Tensor) -> torch.Tensor:
    """At least float32, for the softmax."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


@torch.no_grad()
def score(lm, queries: list[Query], deltas: list[Delta] = (NOTHING,), rows: int = 256, what: str = "score") -> list[Score]:
    """Scores in the order of `queries`. Batches hold `rows` queries of similar length; a row sees only its own tokens."""
    order = sorted(range(len(queries)), key=lambda i: (len(queries[i].prompt_ids) + len(queries[i].target_ids), i))
    found: list[Score | None] = [None] * len(queries)
    for start in progress.bar(range(0, len(order), rows), what, "batch"):
        batch = order[start : start + rows]
        for index, result in zip(batch, _score_batch(lm, [queries[i] for i in batch], deltas)):
            found[index] = result
    return found


def _score_batch(lm, queries: list[Query], deltas) -> list[Score]:
    ids, _ = tokens.pad([list(q.prompt_ids + q.target_ids[:-1]) for q in queries], lm.device)
    with edited(lm, [deltas[q.delta] for q in queries]):
        hidden_BTd = lm.hidden(ids)
    row = torch.tensor([i for i, q in enumerate(queries) for _ in q.target_ids], device=lm.device)
    position = torch.tensor([len(q.prompt_ids) - 1 + j for q in queries for j in range(len(q.target_ids))], device=lm.device)
    wanted = torch.tensor([t for q in queries for t in q.target_ids], device=lm.device)
    logits = lm.module("head")(hidden_BTd[row, position])
    nll = torch.nn.functional.cross_entropy(_full(logits), wanted, reduction="none").double()
    hit = logits.argmax(-1) == wanted
    results, at = [], 0
    for query in queries:
        span = slice(at, at + len(query.target_ids))
        results.append(Score(float(nll[span].mean()), bool(hit[span].all())))
        at = span.stop
    return results


@torch.no_grad()
def predict(lm, prompts: list[list[int]], rows: int = 256) -> list[tuple[int, float]]:
    """The most probable next token after each prompt and its probability."""
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    found: list[tuple[int, float] | None] = [None] * len(prompts)
    for start in range(0, len(order), rows):
        batch = order[start : start + rows]
        ids, lengths = tokens.pad([prompts[i] for i in batch], lm.device)
        last = lm.hidden(ids)[torch.arange(len(batch), device=lm.device), lengths - 1]
        best = _full(lm.module("head")(last)).softmax(-1).max(-1)
        for i, token, probability in zip(batch, best.indices.tolist(), best.values.tolist()):
            found[i] = (token, probability)
    return found
