"""Uncentred second moment of the keys, all wanted layers from one pass over the text (ROME eq. 2's C; spec 2.6).

Shapes: B rows, T tokens, D keys.
"""

from dataclasses import dataclass

import torch

from engram import progress, tokens
from engram.hooks import captured, run


@dataclass(frozen=True)
class Moment:
    """A finished statistic: sum of k kᵀ [D, D] and the number of keys."""

    total: torch.Tensor
    count: int

    @property
    def mean(self) -> torch.Tensor:
        """C = total / count [D, D]."""
        return self.total / self.count


class SecondMoment:
    """Accumulates sum of k kᵀ over rows of keys, in `dtype`."""

    def __init__(self, width: int, dtype=torch.float64, device="cpu"):
        self.total = torch.zeros(width, width, dtype=dtype, device=device)
        self.count = 0

    def update(self, keys: torch.Tensor) -> None:
        """Add keys [n, D]: the product in the keys' own precision, the sum in the accumulator's."""
        self.total += (keys.T @ keys).to(self.total.dtype)
        self.count += len(keys)

    def result(self) -> Moment:
        """The statistic so far. ValueError if nothing was added."""
        if self.count == 0:
            raise ValueError("no keys were added")
        return Moment(self.total.clone(), self.count)


def batches(rows: list[list[int]], budget: int, group: int = 100) -> list[list[list[int]]]:
    """Rows in batches of at most `budget` padded tokens: groups of `group` rows in order, longest first within a group.

    Empty rows are dropped. The batches depend on nothing but the rows, so the sum is the same in every run.
    """
    found = []
    for start in range(0, len(rows), group):
        batch: list[list[int]] = []
        for row in sorted((r for r in rows[start : start + group] if r), key=len, reverse=True):
            if batch and len(batch[0]) * (len(batch) + 1) > budget:
                found.append(batch)
                batch = []
            batch.append(row)
        if batch:
            found.append(batch)
    return found


@torch.no_grad()
def second_moments(lm, layers: list[int], texts: list[str], max_tokens: int, budget: int,
                   dtype=torch.float64) -> dict[int, Moment]:
    """Second moment of the keys of every layer in `layers` over all tokens of `texts`, each cut at `max_tokens`."""
    rows = [tokens.encode(lm.tokenizer, text)[:max_tokens] for text in texts]
    sums = {layer: SecondMoment(lm.key_width(layer), dtype, lm.device) for layer in layers}
    modules = {layer: lm.module("value", layer) for layer in sorted(layers)}
    for batch in progress.bar(batches(rows, budget), "covariance", "batch"):
        ids, lengths = tokens.pad(batch, lm.device)
        real = torch.arange(ids.shape[1], device=lm.device) < lengths[:, None]
        with captured(modules, "input", stop=max(layers)) as keys:
            run(lm.hidden, ids)
        for layer, accumulator in sums.items():
            accumulator.update(keys[layer][real])
    return {layer: accumulator.result() for layer, accumulator in sums.items()}


def solve(moment: Moment, keys: torch.Tensor) -> torch.Tensor:
    """C⁻¹ keysᵀ in float64 by Cholesky: [D, n] for keys [n, D]. ValueError, with the rank, if C is singular."""
    matrix = moment.mean.double()
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if int(failed):
        rank = int(torch.linalg.matrix_rank(matrix, hermitian=True))
        raise ValueError(f"the second moment has rank {rank} of {len(matrix)} ({moment.count} keys): "
                         "raise covariance.articles so that it can be inverted")
    return torch.cholesky_solve(keys.double().T, factor)


def to_tensors(moments: dict[int, Moment]) -> tuple[dict[str, torch.Tensor], dict]:
    """The form in which moments are stored: `layer.<l>` [D, D] is the sum, the counts are in the metadata."""
    return ({f"layer.{layer}": moment.total for layer, moment in moments.items()},
            {"count": {str(layer): moment.count for layer, moment in moments.items()}})


def from_tensors(tensors: dict[str, torch.Tensor], metadata: dict, device="cpu") -> dict[int, Moment]:
    """The inverse of `to_tensors`."""
    layers = [int(name.removeprefix("layer.")) for name in tensors]
    return {layer: Moment(tensors[f"layer.{layer}"].to(device), metadata["count"][str(layer)]) for layer in sorted(layers)}
