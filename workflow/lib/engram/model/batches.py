"""Batches side by side: on a CPU one batch per thread; a GPU takes them one after another."""

from copy import deepcopy
from dataclasses import replace
from itertools import chain
from queue import SimpleQueue

import torch

from engram.job import progress
from engram.model.delta import groups
from engram.model.halving import ChunkLimit, halving
from engram.model.workers import workers


def sorted_batches(lm, deltas: list, which: list[int], order: list, rows: int, budget: int) -> list[list[int]]:
    """Positions of `which` in batches of at most `rows`, of even size, by `order` among the `deltas` that may share
    one.

    deltas: the different ones; which[i]: the one that item i needs. The data and the sizes alone decide.
    """
    found = []
    for group in groups(lm, deltas, budget):
        members = set(group)
        some = sorted((i for i, number in enumerate(which) if number in members), key=lambda i: (order[i], i))
        count = -(-len(some) // rows)
        found += [some[len(some) * i // count : len(some) * (i + 1) // count] for i in range(count)]
    return found


def map_batches(lm, batches: list[list], compute, what: str) -> list[list]:
    """For every batch the list of its items' results: `compute(lm, items)` gives one per item.

    Every thread has a model of its own (shared weights), so that hooks do not meet. A batch that does not fit into
    memory is halved, and so are those after it.
    """
    room, models = ChunkLimit(), SimpleQueue()
    for _ in range(torch.get_num_threads() if lm.device.type == "cpu" else 1):
        models.put(twin(lm))

    def batch_of(items):
        own = models.get()
        try:
            return list(chain(*halving(lambda part: compute(own, part), items, len(items), what, room)))
        finally:
            models.put(own)

    found = []
    with workers(lm.device) as pool, progress.bar(None, what, what, total=sum(map(len, batches))) as bar:
        for result in pool.map(batch_of, batches):
            found.append(result)
            bar.update(len(result))
    return found


def twin(lm):
    """The same model with modules of its own: hooks and exchanged weights of one do not reach the other; no weight is
    copied.
    """
    tensors = chain(lm.model.parameters(), lm.model.buffers())
    return replace(lm, model=deepcopy(lm.model, {id(tensor): tensor for tensor in tensors}))
