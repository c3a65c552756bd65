"""Many items computed in batches: on a CPU one batch per thread side by side; a GPU takes them one after another.

Batches that do not fit into memory are halved (engram.model.halving); threads are those of engram.model.workers.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from queue import SimpleQueue
from typing import Any

import torch

from engram.job import progress, resuming
from engram.model.delta import NOTHING, Delta, groups
from engram.model.halving import ChunkLimit, Item, Result, halving
from engram.model.loading import LM
from engram.model.workers import workers


def map_batches(
    lm: LM, batches: Sequence[Sequence[Item]], compute: Callable[[LM, Sequence[Item]], Iterable[Result]], what: str
) -> list[list[Result]]:
    """For every batch the list of its items' results; `compute(lm, items)` gives one result per item.

    Every thread has a model of its own with shared weights, so that hooks do not meet. A batch that does not fit into
    memory is halved, and so are those after it. `what` names one item on the progress bar and in errors.
    """
    limit = ChunkLimit()
    models: SimpleQueue[LM] = SimpleQueue()
    for _ in range(torch.get_num_threads() if lm.device.type == "cpu" else 1):
        models.put(twin(lm))

    def results_of(items: Sequence[Item]) -> list[Result]:
        own = models.get()
        try:
            return list(chain(*halving(lambda part: compute(own, part), items, len(items), what, limit)))
        finally:
            models.put(own)

    results = []
    with workers(lm.device) as pool, progress.bar(None, what, what, total=sum(map(len, batches))) as bar:
        for batch in pool.map(results_of, batches):
            results.append(batch)
            bar.update(len(batch))
    return results


def map_sorted(
    lm: LM,
    items: Sequence[Item],
    compute: Callable[[LM, Sequence[Item]], Iterable[Result]],
    what: str,
    order: Sequence[Any],
    rows: int,
    deltas: Sequence[Delta] = (NOTHING,),
    which: Sequence[int] | None = None,
    budget: int = 0,
) -> list[Result]:
    """What `compute(lm, some items)` gives for each of `items`, in their order; see `map_batches`.

    Batches have at most `rows` items, are of even size, and follow `order` (one key per item), so that items of similar
    length meet. `deltas` are different changes and which[i] is the number of the one that item i needs (None: the
    first); only items whose deltas may share a batch within `budget` bytes do (engram.model.delta.groups). The items
    alone decide, not the threads.
    """
    batches = []
    for group in groups(lm, deltas, budget):
        members = [i for i in range(len(items)) if (which[i] if which else 0) in group]
        members.sort(key=lambda i: (order[i], i))
        batches += resuming.split(members, max(1, -(-len(members) // rows)))
    results = map_batches(lm, [[items[i] for i in batch] for batch in batches], compute, what)
    by_index = dict(zip(chain(*batches), chain(*results)))
    return [by_index[i] for i in range(len(items))]


def twin(lm: LM) -> LM:
    """The same model with modules of its own: hooks and exchanged weights of one do not reach the other.

    No weight is copied.
    """
    tensors = chain(lm.model.parameters(), lm.model.buffers())
    return replace(lm, model=deepcopy(lm.model, {id(tensor): tensor for tensor in tensors}))
