"""Optimised values of many facts: v* of ROME, z of MEMIT and its kin; one table per family of methods.

Here facts are put into batches and shards; the descent of one batch is engram.editing.values.descent.
Shapes: F facts, d values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from engram.editing.facts import Fact
from engram.editing.values import descent
from engram.editing.values.moved_forward import Shape
from engram.job import resuming
from engram.model import batches
from engram.model.loading import LM
from engram.settings.objective import Settings

__all__ = ["BATCH", "Settings", "Targets", "optimise"]
BATCH = {"cpu": 8, "cuda": 32}  # facts computed together: measured on CPUs; on a GPU what fills it
_VALUES, _STEPS = "values.safetensors", "steps.parquet"


@dataclass(frozen=True)
class Targets:
    """The result for F facts, in their order, on the CPU."""

    value: torch.Tensor  # [F, d], optimised
    initial: torch.Tensor  # [F, d], original
    log: pd.DataFrame  # case_id, step and the losses of descent.PARTS; one row per fact and step


def optimise(
    lm: LM,
    facts: list[Fact],
    contexts: list[str],
    settings: Settings,
    batch: int | None = None,
    store: resuming.Store | None = None,
) -> Targets:
    """The optimised value of every fact; `contexts` are templates, the bare one "{}" first.

    At most `batch` facts of one shape (moved_forward.Shape) are computed together; None: BATCH of the device. On a CPU
    as many batches run side by side as torch has threads. Which facts share a batch changes no bit where a row of a
    matrix product does not depend on the number of rows (as measured on CPUs), and on any device none as long as that
    number is the same; else a value changes by rounding (in float32 by less than 1e-4 of its norm). `store` keeps
    finished shards; it changes nothing. ValueError if a case_id comes twice.
    """
    place = {fact.case_id: index for index, fact in enumerate(facts)}
    if len(place) < len(facts):
        raise ValueError(f"{len(facts)} facts with {len(place)} different case_id: each must come once")
    shared = descent.plan(lm, contexts, settings)
    chunks = _chunks([descent.work(lm.tokenizer, fact, shared) for fact in facts], batch or BATCH[lm.device.type])

    def part_of(part: Sequence[list[descent.Work]]) -> dict[str, Any]:
        results = batches.map_batches(lm, part, lambda own, chunk: descent.optimised(own, chunk, shared), "fact")
        return _tables([work.fact for chunk in part for work in chunk], [result for own in results for result in own])

    tables = list(resuming.parts(store or resuming.Store(), chunks, part_of))
    log = pd.concat([table[_STEPS] for table in tables], ignore_index=True)
    log = log.sort_values("case_id", key=lambda ids: ids.map(place), kind="stable", ignore_index=True)
    rows = torch.tensor([place[work.fact.case_id] for chunk in chunks for work in chunk]).argsort()
    value, initial = (torch.cat([table[_VALUES][0][name] for table in tables])[rows] for name in ("value", "initial"))
    return Targets(value, initial, log)


def _chunks(todo: list[descent.Work], batch: int) -> list[list[descent.Work]]:
    """Batches of facts of one shape, each shape in the order of the facts."""
    groups: dict[Shape, list[descent.Work]] = {}
    for work in todo:
        groups.setdefault(work.shape, []).append(work)
    return [group[start : start + batch] for group in groups.values() for start in range(0, len(group), batch)]


def _tables(facts: list[Fact], results: list[descent.Optimised]) -> dict[str, Any]:
    """What one shard keeps, by file name: values and originals in the order of `facts`, and the log."""
    log = [
        {"case_id": fact.case_id, "step": step, **dict(zip(descent.PARTS, row))}
        for fact, result in zip(facts, results, strict=True)
        for step, row in enumerate(result.losses)
    ]
    tensors = {name: torch.stack([getattr(result, name) for result in results]).cpu() for name in ("value", "initial")}
    return {_VALUES: (tensors, {}), _STEPS: pd.DataFrame(log)}
