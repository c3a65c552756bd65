"""Optimised values of many facts: v* of ROME, z of MEMIT and its kin (spec 2.7, 3.3); one table per family of methods.

Shapes: F facts, d values.
"""

from dataclasses import dataclass

import pandas as pd
import torch

from engram import batches, descent, memory, shards
from engram.objective import Settings

__all__ = ["Settings", "Targets", "optimise"]
_VALUES, _STEPS = "values.safetensors", "steps.parquet"


@dataclass(frozen=True)
class Targets:
    """Optimised and original values [F, d] on the CPU, and the log of losses: one row per fact and step, facts in order."""

    value: torch.Tensor
    initial: torch.Tensor
    log: pd.DataFrame


def optimise(lm, facts: list[memory.Fact], contexts: list[str], settings: Settings, batch: int = 1, count: int = 1,
             store: shards.Store = shards.Store()) -> Targets:
    """The optimised value of every fact; `contexts` are templates, the bare one "{}" first.

    With `batch` 1 every fact is computed alone, so none can change a bit of another's; on a CPU as many side by side as
    torch has threads. A larger batch takes facts of similar length together, for a GPU: the values are the same bits as
    long as the shape of the batch is, whoever else is in it. When others stop earlier or later the shape is another, and a
    value changes by rounding (in float32 by less than 1e-4 of its norm).
    `count` is the number of parts that `store` keeps; it changes nothing. ValueError if a case_id comes twice.
    """
    place = {fact.case_id: index for index, fact in enumerate(facts)}
    if len(place) < len(facts):
        raise ValueError(f"{len(facts)} facts with {len(place)} different case_id: each must come once")
    order = _ordered(lm.tokenizer, facts) if batch > 1 else facts
    chunks = [order[start : start + batch] for start in range(0, len(order), batch)]

    def part_of(part: list[list[memory.Fact]]) -> dict:
        found = batches.each(lm, part, lambda own, chunk: descent.optimised(own, chunk, contexts, settings), "fact")
        return _tables([fact for chunk in part for fact in chunk], [one for results in found for one in results])

    tables = list(shards.parts(store, shards.split(chunks, count), part_of))
    log = pd.concat([table[_STEPS] for table in tables], ignore_index=True)
    log = log.sort_values("case_id", key=lambda ids: ids.map(place), kind="stable", ignore_index=True)
    rows = torch.tensor([place[fact.case_id] for fact in order]).argsort()
    value, initial = (torch.cat([table[_VALUES][0][name] for table in tables])[rows] for name in ("value", "initial"))
    return Targets(value, initial, log)


def _ordered(tokenizer, facts: list[memory.Fact]) -> list[memory.Fact]:
    """By the length of what is computed in every step, so that a batch holds little padding."""
    def length(fact: memory.Fact) -> tuple[int, int]:
        (row,) = memory.lookups(tokenizer, fact, ["{}"], memory.target_tokens(tokenizer, fact)[:-1])
        return len(row.ids) - row.position, row.position
    return sorted(facts, key=length)


def _tables(facts: list[memory.Fact], found: list[descent.Found]) -> dict:
    """What one shard keeps: values and originals in the order of `facts`, and the log."""
    log = [{"case_id": fact.case_id, "step": step, **dict(zip(descent.PARTS, row))}
           for fact, one in zip(facts, found, strict=True) for step, row in enumerate(one.losses)]
    tensors = {name: torch.stack([getattr(one, name) for one in found]).cpu() for name in ("value", "initial")}
    return {_VALUES: (tensors, {}), _STEPS: pd.DataFrame(log)}
