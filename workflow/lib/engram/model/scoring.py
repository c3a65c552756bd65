"""Log-probabilities of targets after prompts, for many differently edited models at once (ROME Sec. 3.3, App. B).

Texts that a model writes: engram.model.generation. What becomes of scores: engram.evaluation.
Shapes: B rows, T tokens, P positions that are asked about, V vocabulary, d width that the head reads.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from engram.model import batches, tokens
from engram.model.delta import NOTHING, Delta, distinct, edited
from engram.model.loading import LM

ROWS = 128  # sequences per batch
BUDGET = 2**31  # bytes of stacked dense changes in one batch
_POSITIONS = 512  # whose logits exist at a time


@dataclass(frozen=True)
class Query:
    """One prompt with one target: the index of the edited model that reads it, the token ids of both."""

    delta: int
    prompt_ids: tuple[int, ...]
    target_ids: tuple[int, ...]


@dataclass(frozen=True)
class Score:
    """Mean negative log-likelihood per target token (natural log) and whether every target token is the argmax."""

    nll: float
    correct: bool


@dataclass(frozen=True)
class Reading:
    """Token ids that one edited model reads once, and what is asked of it.

    asked: triples (number of the query, index in its target, position whose prediction is that token).
    """

    delta: Delta
    ids: tuple[int, ...]
    asked: tuple[tuple[int, int, int], ...]


def target_ids(tokenizer: PreTrainedTokenizerBase, target: str) -> tuple[int, ...]:
    """Token ids of a target as it follows a prompt: with one space before it. ValueError if it is empty."""
    if not target.strip():
        raise ValueError(f"empty target {target!r}")
    return tuple(tokens.following(tokenizer, " " + target.strip()))


def score(
    lm: LM,
    queries: Sequence[Query],
    deltas: Sequence[Delta] = (NOTHING,),
    rows: int = ROWS,
    what: str = "score",
    budget: int = BUDGET,
) -> list[Score]:
    """The Score of every query, in their order; `query.delta` is an index into `deltas`.

    A prompt is read once for all its targets: what begins another text of the same model is not read again. Batches
    hold `rows` texts of similar length, padded to the longest; a row sees only its own tokens.
    """
    todo, which = readings(queries, deltas)
    order = [(len(reading.ids), number) for reading, number in zip(todo, which)]
    targets = [query.target_ids for query in queries]
    answers = batches.map_sorted(
        lm, todo, lambda own, part: _read(own, part, targets), what, order, rows, distinct(deltas)[0], which, budget
    )
    by_token = {(query, index): (nll, hit) for query, index, nll, hit in chain(*answers)}
    scores = []
    for number, ids in enumerate(targets):
        nlls, hits = zip(*(by_token[number, index] for index in range(len(ids))))
        scores.append(Score(sum(nlls) / len(nlls), all(hits)))
    return scores


def check_lengths(lm: LM, queries: Sequence[Query], names: Callable[[int], str]) -> None:
    """ValueError with `names(i)` of the first query i that has more tokens than the model has positions."""
    counts = (len(query.prompt_ids) + len(query.target_ids) for query in queries)
    check_token_counts(lm, ((names(i), count) for i, count in enumerate(counts)))


def check_token_counts(lm: LM, texts: Iterable[tuple[str, int]]) -> None:
    """ValueError with the name of the first of `texts` (name, number of tokens) that the model has no positions for.

    A text's last token is only predicted, so it needs no position.
    """
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


def readings(queries: Sequence[Query], deltas: Sequence[Delta]) -> tuple[list[Reading], list[int]]:
    """The texts to read for `queries`, and for each the number of its edited model among the different `deltas`."""
    different, index = distinct(deltas)
    asked: dict[tuple[int, tuple[int, ...]], list[tuple[int, int, int]]] = {}
    for number, query in enumerate(queries):
        ids = query.prompt_ids + query.target_ids[:-1]
        positions = [(number, i, len(query.prompt_ids) - 1 + i) for i in range(len(query.target_ids))]
        asked.setdefault((index[query.delta], ids), []).extend(positions)
    kept: list[tuple[int, tuple[int, ...]]] = []
    for key in sorted(asked, reverse=True):  # what begins with `key` follows it in the order, at once
        if kept and kept[-1][0] == key[0] and kept[-1][1][: len(key[1])] == key[1]:
            asked[kept[-1]] += asked[key]
        else:
            kept.append(key)
    kept.reverse()
    return [Reading(different[number], ids, tuple(asked[number, ids])) for number, ids in kept], [n for n, _ in kept]


@torch.inference_mode()
def _read(lm: LM, part: Sequence[Reading], targets: list[tuple[int, ...]]) -> list[list[tuple[int, int, float, bool]]]:
    """For each text its answers (query, index in its target, nll of that token, is it the argmax)."""
    ids, _ = tokens.pad([reading.ids for reading in part], lm.device)
    with edited(lm, [reading.delta for reading in part]):
        hidden = lm.hidden(ids)
    positions: dict[tuple[int, int], int] = {}
    asked, origin = [], []
    for row, reading in enumerate(part):
        for query, index, position in reading.asked:
            origin.append(positions.setdefault((row, position), len(positions)))
            asked.append((query, index))
    nll, hit = _target_nll(
        lm,
        hidden[tuple(torch.tensor(list(positions), device=lm.device).T)],
        torch.tensor(origin, device=lm.device),
        torch.tensor([targets[query][index] for query, index in asked], device=lm.device),
    )
    answers = iter([(*token, *answer) for token, *answer in zip(asked, nll.tolist(), hit.tolist())])
    return [list(islice(answers, len(reading.asked))) for reading in part]


def _target_nll(lm: LM, hidden: Tensor, origin: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """-log p(targets[i]) in float64 at the state hidden[origin[i]], and whether that token is the most probable one.

    hidden [P, d], origin and targets [number of questions].
    """
    total, best = [], []
    values = hidden.new_empty(len(targets), dtype=torch.float64)
    for start in range(0, len(hidden), _POSITIONS):
        logits = _full(lm.logits(hidden[start : start + _POSITIONS]))
        questions = ((origin >= start) & (origin < start + _POSITIONS)).nonzero()[:, 0]
        values[questions] = logits[origin[questions] - start, targets[questions]].double()
        total.append(logits.logsumexp(-1).double())
        best.append(logits.argmax(-1))
    return torch.cat(total)[origin] - values, torch.cat(best)[origin] == targets


def _full(logits: Tensor) -> Tensor:
    """The logits in float32 at least, for the softmax."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def predict(lm: LM, prompts: Sequence[Sequence[int]], rows: int = ROWS) -> list[tuple[int, float]]:
    """The most probable next token after each prompt (token ids) and its probability; `rows` prompts in a batch."""

    @torch.inference_mode()
    def best(own: LM, part: Sequence[Sequence[int]]) -> list[tuple[int, float]]:
        ids, lengths = tokens.pad(part, own.device)
        last = own.hidden(ids)[torch.arange(len(part), device=own.device), lengths - 1]
        top = _full(own.logits(last)).softmax(-1).max(-1)
        return list(zip(top.indices.tolist(), top.values.tolist()))

    return batches.map_sorted(lm, prompts, best, "prompt", [len(ids) for ids in prompts], rows)
