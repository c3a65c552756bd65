"""Log-probabilities of targets after prompts, for many differently edited models at once (spec: ROME Sec. 3.3, App. B).

Shapes: B rows, T tokens, P positions that are asked about, V vocabulary.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from engram.model import batches, tokens
from engram.model.delta import NOTHING, Delta, distinct, edited

ROWS = 128  # sequences per batch
BUDGET = 2**31  # bytes of stacked dense changes in one batch
_POSITIONS = 512  # whose logits exist at a time


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


@dataclass(frozen=True)
class Sequence:
    """Token ids that one edited model reads once, and what is asked there: (query, position in its target, position
    here).
    """

    delta: Delta
    ids: tuple[int, ...]
    asked: tuple[tuple[int, int, int], ...]


def target_ids(tokenizer, target: str) -> tuple[int, ...]:
    """Ids of a target as it follows a prompt: with one space before it. ValueError if it is empty."""
    if not target.strip():
        raise ValueError(f"empty target {target!r}")
    return tuple(tokens.following(tokenizer, " " + target.strip()))


def score(
    lm,
    queries: list[Query],
    deltas: list[Delta] = (NOTHING,),
    rows: int = ROWS,
    what: str = "score",
    budget: int = BUDGET,
) -> list[Score]:
    """Scores in the order of `queries`.

    A prompt is read once for both its targets: what begins another sequence of the same model is not read again.
    Batches hold `rows` sequences of similar length, padded to the longest; a row sees only its own tokens.
    """
    found = [([0.0] * len(query.target_ids), [False] * len(query.target_ids)) for query in queries]
    todo, which = sequences(queries, deltas)
    order = [(len(sequence.ids), number) for sequence, number in zip(todo, which)]
    parts = batches.sorted_batches(lm, distinct(list(deltas))[0], which, order, rows, budget)
    goals = [query.target_ids for query in queries]
    results = batches.map_batches(
        lm, [[todo[i] for i in part] for part in parts], lambda own, some: _read(own, some, goals), what
    )
    for result in results:
        for query, at, nll, hit in (answer for answers in result for answer in answers):
            found[query][0][at], found[query][1][at] = nll, hit
    return [Score(sum(nll) / len(nll), all(hit)) for nll, hit in found]


def check_lengths(lm, queries: list[Query], names: Callable[[int], str]) -> None:
    """ValueError with `names(i)` of the first query i that has more tokens than the model has positions."""
    check_token_counts(
        lm, ((names(i), len(query.prompt_ids) + len(query.target_ids)) for i, query in enumerate(queries))
    )


def check_token_counts(lm, texts: Iterable[tuple[str, int]]) -> None:
    """The same for texts as (name, number of tokens), the last of which only has to be predicted."""
    limit = getattr(lm.model.config, "max_position_embeddings", None)
    long = {} if limit is None else {name: length for name, length in texts if length - 1 > limit}
    if long:
        name, length = next(iter(long.items()))
        raise ValueError(
            f"{name}: {length} tokens for model {lm.name}, which has {limit} positions"
            + (f"; {len(long) - 1} more texts are too long for it" if len(long) > 1 else "")
            + ": right is to leave the record out of the source's file, or a model that reads more (for one that is "
            "trained here `train.context`)"
        )


def sequences(queries: list[Query], deltas: list[Delta]) -> tuple[list[Sequence], list[int]]:
    """What has to be read to answer `queries`, each beside the number of its edited model among the different ones."""
    different, index = distinct(list(deltas))
    asked: dict[tuple, list] = {}
    for number, query in enumerate(queries):
        ids = query.prompt_ids + query.target_ids[:-1]
        places = [(number, at, len(query.prompt_ids) - 1 + at) for at in range(len(query.target_ids))]
        asked.setdefault((index[query.delta], ids), []).extend(places)
    ordered, kept = sorted(asked), []
    for key in reversed(ordered):  # what begins with `key` follows it in the order, at once
        if kept and kept[-1][0] == key[0] and kept[-1][1][: len(key[1])] == key[1]:
            asked[kept[-1]] += asked[key]
        else:
            kept.append(key)
    kept.reverse()
    return [Sequence(different[delta], ids, tuple(asked[delta, ids])) for delta, ids in kept], [
        delta for delta, _ in kept
    ]


@torch.inference_mode()
def _read(lm, some: list[Sequence], goals: list[tuple]) -> list[list[tuple]]:
    """For each sequence the answers (query, position in its target, nll, is it the argmax)."""
    ids, _ = tokens.pad([list(sequence.ids) for sequence in some], lm.device)
    with edited(lm, [sequence.delta for sequence in some]):
        hidden = lm.hidden(ids)
    places: dict[tuple, int] = {}
    wanted, origin = [], []
    for row, sequence in enumerate(some):
        for query, at, position in sequence.asked:
            origin.append(places.setdefault((row, position), len(places)))
            wanted.append((query, at, goals[query][at]))
    nll, hit = _answers(
        lm,
        hidden[tuple(torch.tensor(list(places), device=lm.device).T)],
        torch.tensor(origin, device=lm.device),
        torch.tensor([goal for *_, goal in wanted], device=lm.device),
    )
    answers = iter(zip(wanted, nll.tolist(), hit.tolist()))
    return [
        [(query, at, loss, right) for _ in sequence.asked for (query, at, _), loss, right in [next(answers)]]
        for sequence in some
    ]


def _answers(lm, hidden: torch.Tensor, origin: torch.Tensor, goals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """-log p(goals[i]) in float64 at the position hidden[origin[i]] [P, d], and whether it is the most probable
    token.
    """
    total, best = [], []
    values = hidden.new_empty(len(goals), dtype=torch.float64)
    for start in range(0, len(hidden), _POSITIONS):
        logits = _full(lm.logits(hidden[start : start + _POSITIONS]))
        here = ((origin >= start) & (origin < start + _POSITIONS)).nonzero()[:, 0]
        values[here] = logits[origin[here] - start, goals[here]].double()
        total.append(logits.logsumexp(-1).double())
        best.append(logits.argmax(-1))
    return torch.cat(total)[origin] - values, torch.cat(best)[origin] == goals


def _full(logits: torch.Tensor) -> torch.Tensor:
    """At least float32, for the softmax."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def predict(lm, prompts: list[list[int]], rows: int = ROWS) -> list[tuple[int, float]]:
    """The most probable next token after each prompt and its probability."""

    @torch.inference_mode()
    def best(own, some: list[list[int]]) -> list[tuple[int, float]]:
        ids, lengths = tokens.pad(some, own.device)
        last = own.hidden(ids)[torch.arange(len(some), device=own.device), lengths - 1]
        top = _full(own.logits(last)).softmax(-1).max(-1)
        return list(zip(top.indices.tolist(), top.values.tolist()))

    parts = batches.sorted_batches(lm, [NOTHING], [0] * len(prompts), [len(ids) for ids in prompts], rows, BUDGET)
    found: list[tuple[int, float] | None] = [None] * len(prompts)
    for part, results in zip(
        parts, batches.map_batches(lm, [[prompts[i] for i in part] for part in parts], best, "prompt")
    ):
        for i, result in zip(part, results):
            found[i] = result
    return found
