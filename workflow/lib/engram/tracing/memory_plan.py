"""How much memory tracing takes, known before it starts: which prompts run together, and the peak of their tensors.

The peak is found by a dry run: the same code on tensors without storage (device "meta") with every allocation counted.
Memory that falls short after all: engram.model.halving.

Shapes: G prompts of one length T, S noise samples, P restorations, d width.
"""

import sys
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from engram.job import resuming
from engram.model.adapters import Adapter
from engram.model.loading import LM
from engram.tracing import restoration
from engram.tracing.passes import clean_and_corrupted

GPU_PROMPTS = 16  # prompts of one batch on a GPU, at most: by then the products are large enough
# bytes of a sweep's block inputs on a CPU: fastest at widths 128-256; twice as much leaves the cache
CPU_BATCH = 6 * 2**20
GPU_SHARE = 0.8  # of the free memory; the rest is left to the libraries and to gaps between tensors


class Peak(TorchDispatchMode):
    """Counts the bytes of the tensors that are made inside the `with` of one thread: `now` alive, `most` at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._alive: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        given = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in given:
                self._add(x.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._alive:
            return
        self._alive[storage._cdata] = storage.nbytes()
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._remove, storage._cdata)

    def _remove(self, name: int) -> None:
        self.now -= self._alive.pop(name)


@dataclass(frozen=True)
class Shape:
    """What memory depends on in one prompt: its tokens, the first corrupted one, and the tokens that are restored."""

    length: int
    begin: int
    tokens: tuple[int, ...]

    @property
    def rows(self) -> int:
        """How many positions a restoration at the first restored token computes."""
        return self.length - self.first

    @property
    def first(self) -> int:
        """The first token whose restoration is computed."""
        return min((token for token in self.tokens if token >= self.begin), default=self.length - 1)


class Forecast:
    """The peak bytes of tensors, beside the model's weights, for prompts that are traced together.

    lm: the model, of which no weight is touched; todo: the restorations of a token; samples: noise samples.
    """

    def __init__(self, lm: LM, todo: Sequence[restoration.Restoration], samples: int) -> None:
        with torch.device("meta"):
            model = type(lm.model)(lm.model.config)
        torch.nn.Module.to(model, lm.model.dtype)
        self.lm = replace(lm, model=model.eval().requires_grad_(False))
        self.kind, self.todo, self.samples = lm.device.type, todo, samples
        self._known: dict[tuple, int] = {}

    def peak(self, shapes: Sequence[Shape], size: int | None = None, rows: int | None = None) -> int:
        """The peak, in bytes, for a group of prompts of one length.

        In one sweep over the layers are `size` restorations, at tokens of `rows` positions (or one token); None: all.
        """
        key = (tuple(shapes), size or len(self.todo), rows or sys.maxsize)
        if key not in self._known:
            self._known[key] = self._dry_run(sorted(shapes, key=lambda shape: shape.begin), *key[1:])
        return self._known[key]

    def _dry_run(self, shapes: Sequence[Shape], size: int, rows: int) -> int:
        most, telling = _widest(shapes, rows), {shape.first for shape in shapes} | {shapes[0].tokens[-1]}
        with Peak() as peak:  # most positions, most prompts, most restorations; and most layers are like the last ones
            parts = [part for part in _sweeps(shapes, rows) if _positions(shapes, part) == most or telling & set(part)]
            late = self.lm.layers - 4
            some = [replace(restored, join=max(restored.join, late)) for restored in self.todo[:size]]
            self._trace(shapes, parts, some)
        return peak.most

    def most_rows(self, size: int) -> int:
        """How many positions a sweep of `size` restorations should have: the fastest on a CPU, no limit on a GPU."""
        position = size * self.samples * self.lm.width * self.lm.model.dtype.itemsize
        return max(1, CPU_BATCH // position) if self.kind == "cpu" else sys.maxsize

    def flop(self, shape: Shape) -> int:
        """Floating-point operations of the matrix products of one prompt traced alone."""
        with FlopCounterMode(display=False) as counter:
            self._trace([shape], _sweeps([shape], sys.maxsize), self.todo)
        return counter.get_total_flops()

    @torch.inference_mode()
    def _trace(self, shapes: Sequence[Shape], parts: list[list[int]], some: Sequence[restoration.Restoration]) -> None:
        """Trace prompts of these shapes on tensors without storage: the restorations `some`, the tokens of `parts`."""
        with torch.device("meta"):
            length, begins = shapes[0].length, tuple(shape.begin for shape in shapes)
            adapter = Adapter(self.lm, length, self.kind)
            x = torch.empty(len(shapes), 1 + self.samples, length, self.lm.embed_width, dtype=self.lm.model.dtype)
            passes = clean_and_corrupted(adapter, x, begins, torch.zeros(len(shapes), dtype=torch.long))
            starts = restoration.starting_states(passes, self.todo)
            for part in parts:
                restoration.restore(passes, part, some, starts[: len(some)], len(some), sys.maxsize)


def _positions(shapes: Sequence[Shape], tokens: list[int]) -> int:
    """How many positions of a group of prompts restorations at these tokens compute."""
    return sum(shape.length - token for shape in shapes for token in tokens if token >= shape.begin)


def _widest(shapes: Sequence[Shape], rows: int) -> int:
    """Positions of the largest sweep that a group of prompts takes."""
    return max((_positions(shapes, part) for part in _sweeps(shapes, rows)), default=0)


def _sweeps(shapes: Sequence[Shape], rows: int) -> list[list[int]]:
    """The tokens of each sweep over the layers that a group of prompts takes."""
    tokens = {token for shape in shapes for token in shape.tokens}
    live = sorted(token for token in tokens if _positions(shapes, [token]))
    return restoration.sweeps(live, lambda token: _positions(shapes, [token]), rows)


@dataclass(frozen=True)
class Plan:
    """Which prompts are traced together, and what that takes.

    groups: the ids of the prompts of each group; size: how many restorations of a token, and rows: how many positions
    (of all prompts of a group, or those of one token) are in one sweep over the layers; peak: the predicted bytes of
    tensors; sweeps: how many there are in all; tokens: the most of one sweep.
    """

    groups: list[list[int]]
    size: int
    rows: int
    peak: int
    sweeps: int
    tokens: int


def budget(device: torch.device, gib: float, workers: int) -> int:
    """Bytes for the tensors of one of `workers` threads: their part of `gib` GiB on a CPU, of the free memory on a GPU.

    The latter is rounded down to a power of two, so that a little more or less changes no batch.
    """
    if device.type != "cuda":
        return int(gib * 2**30) // workers
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return 1 << (int(free * GPU_SHARE).bit_length() - 1)


def plan(forecast: Forecast, shapes: dict[int, Shape], most: int, limit: int) -> Plan:
    """The Plan with groups of at most `most` prompts of one length, none above `limit` bytes.

    `shapes` are the Shapes of all prompts by prompt_id; the groups depend on their set, not on their order: within a
    length prompts go by their first corrupted token and their id. If not all fits, memory decides first how many
    restorations of one token of the largest prompt are computed at a time, then how many prompts, then tokens.
    ValueError, with the number needed, if one restoration does not fit.
    """
    size, groups = len(forecast.todo), _groups(shapes, lambda shape: most)
    rows, peak = _fitting_rows(forecast, shapes, groups, size, sys.maxsize)
    if peak > limit:
        size = min(_restorations(forecast, name, shapes[name], limit) for name in _outermost(shapes))
        groups = _groups(shapes, lambda shape: _prompts(forecast, shape, size, limit, most))
        rows, peak = _fitting_rows(forecast, shapes, groups, size, limit)
    parts = [part for group in groups for part in _sweeps([shapes[prompt_id] for prompt_id in group], rows)]
    return Plan(groups, size, rows, peak, len(parts) * -(-len(forecast.todo) // size), max(map(len, parts), default=0))


def _groups(shapes: dict[int, Shape], fitting: Callable[[Shape], int]) -> list[list[int]]:
    """Groups of prompts of one length, as many of a Shape as `fitting` says, in the order of their first members."""
    groups: list[list[int]] = []
    for members in _classes(shapes):
        groups += map(list, resuming.split(members, -(-len(members) // fitting(shapes[members[0]]))))
    order = {prompt_id: i for i, prompt_id in enumerate(shapes)}
    return sorted(groups, key=lambda group: min(order[prompt_id] for prompt_id in group))


def _fitting_rows(
    forecast: Forecast, shapes: dict[int, Shape], groups: list[list[int]], size: int, limit: int
) -> tuple[int, int]:
    """How many positions of a group's prompts fit into one sweep over the layers, and the peak in bytes."""
    shaped = {tuple(shapes[prompt_id] for prompt_id in group) for group in groups}
    rows = min(forecast.most_rows(size), max(_widest(group, sys.maxsize) for group in shaped))
    while True:
        largest = _largest(shaped, rows)
        peak = max(forecast.peak(group, size, rows) for group in largest)
        if peak <= limit or all(len(part) <= 1 for group in largest for part in _sweeps(group, rows)):
            return rows, peak
        rows = min(int(rows * limit / peak), rows * 7 // 8)


def _largest(groups: set[tuple[Shape, ...]], rows: int) -> list[tuple[Shape, ...]]:
    """Those that no other group equals or exceeds in every size that memory grows with; at most the three largest."""
    by_size = {
        (sum(shape.length for shape in group), sum(shape.rows for shape in group), _widest(group, rows)): group
        for group in sorted(groups, key=repr)
    }
    sizes = [
        size
        for size in by_size
        if not any(other != size and all(a >= b for a, b in zip(other, size)) for other in by_size)
    ]
    three = sorted(sizes, key=lambda size: -size[0] - size[1])[:3]
    return [by_size[size] for size in {*three, max(sizes, key=lambda size: size[2])}]


def _classes(shapes: dict[int, Shape]) -> list[list[int]]:
    """The ids of prompts that may run together: of one length, and of one token if only one is restored."""
    classes: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for prompt_id in sorted(shapes, key=lambda prompt_id: (shapes[prompt_id].begin, prompt_id)):
        restored = shapes[prompt_id].tokens
        key = (shapes[prompt_id].length, restored if len(restored) == 1 else ())
        classes.setdefault(key, []).append(prompt_id)
    return [members for _, members in sorted(classes.items())]


def _outermost(shapes: dict[int, Shape]) -> list[int]:
    """Ids of prompts such that no other prompt has as many tokens and as many of them to compute."""
    outermost: list[int] = []
    for prompt_id in sorted(shapes, key=lambda name: (-shapes[name].length, -shapes[name].rows, name)):
        if not outermost or shapes[prompt_id].rows > shapes[outermost[-1]].rows:
            outermost.append(prompt_id)
    return outermost


def _restorations(forecast: Forecast, prompt_id: int, shape: Shape, limit: int) -> int:
    """How many restorations of one prompt fit at a time. ValueError if not even one does."""
    every = size = len(forecast.todo)
    while (peak := forecast.peak([shape], size, 1)) > limit and size > 1:
        size //= 2
    if peak > limit:
        raise ValueError(
            f"prompt {prompt_id}, {shape.length} tokens: tracing it needs {_gib(peak)} GiB with one restoration at a "
            f"time, {_gib(forecast.peak([shape], every, 1))} with all; there are {_gib(limit)} for it (on a CPU "
            "trace.memory divided by run.threads, on a GPU what is free)"
        )
    return size


def _prompts(forecast: Forecast, shape: Shape, size: int, limit: int, most: int) -> int:
    """How many prompts of this shape fit together, one token at a time: memory is a straight line in their number."""
    if most == 1:
        return 1
    first = forecast.peak([shape], size, 1)
    slope = max(1, forecast.peak([shape] * 2, size, 1) - first)
    return max(1, min(most, 1 + (limit - first) // slope))


def _gib(count: int) -> str:
    return f"{count / 2**30:.3g}"
