"""How much memory tracing takes, known before it starts: which prompts run together, and the peak of their tensors.

The peak is found by a dry run: the same code on tensors without storage (device "meta") with every allocation counted.

Shapes: G prompts of one length T, S noise samples, P restorations, d width.
"""

import weakref
from dataclasses import dataclass, replace

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from engram import shards, sweep
from engram.adapters import Adapter
from engram.models import LM

GPU_PROMPTS = 16  # prompts of one batch on a GPU, at most: by then the products are large enough
GPU_SHARE = 0.8  # of the free memory; the rest is left to the libraries and to gaps between tensors


class Peak(TorchDispatchMode):
    """Counts the bytes of the tensors that are made inside the `with` of one thread: `now` alive, `most` at a time."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self._alive = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor) and x.untyped_storage()._cdata not in given:
                self._add(x.untyped_storage())
        return result

    def _add(self, storage) -> None:
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
        """Tokens of the largest sweep."""
        return self.length - self.first

    @property
    def first(self) -> int:
        """The first token whose restoration is computed."""
        return min((token for token in self.tokens if token >= self.begin), default=self.length - 1)


class Forecast:
    """The peak bytes of tensors for prompts traced together, beside the model's weights."""

    def __init__(self, lm: LM, todo: list, samples: int):
        with torch.device("meta"):
            model = type(lm.model)(lm.model.config).to(lm.model.dtype)
        self.lm = replace(lm, model=model.eval().requires_grad_(False))
        self.kind, self.todo, self.samples = lm.device.type, todo, samples
        self._known = {}

    def peak(self, shapes: list[Shape], size: int | None = None) -> int:
        """Peak for a group of prompts of one length, `size` restorations at a time (all of them if None)."""
        key = (tuple(shapes), size)
        if key not in self._known:
            self._known[key] = self._dry_run(sorted(shapes, key=lambda shape: shape.begin), size or len(self.todo))
        return self._known[key]

    def _dry_run(self, shapes: list[Shape], size: int) -> int:
        tokens = {shape.first for shape in shapes} | {shapes[0].tokens[-1]}  # most tokens, most prompts, most restorations
        with Peak() as peak:
            self._trace(shapes, sorted(tokens), self.todo[:size])
        return peak.most

    def flop(self, shape: Shape) -> int:
        """Floating-point operations of the matrix products of one prompt traced alone."""
        with FlopCounterMode(display=False) as counter:
            self._trace([shape], shape.tokens, self.todo)
        return counter.get_total_flops()

    @torch.inference_mode()
    def _trace(self, shapes: list[Shape], tokens, some: list) -> None:
        with torch.device("meta"):
            length, begins = shapes[0].length, tuple(shape.begin for shape in shapes)
            adapter = Adapter(self.lm, length, self.kind)
            x = torch.empty(len(shapes), 1 + self.samples, length, self.lm.width, dtype=self.lm.model.dtype)
            runs = sweep.run(adapter, x, begins, torch.zeros(len(shapes), dtype=torch.long))
            starts = sweep.starts(runs, self.todo)
            for token in tokens:
                sweep.restore(runs, token, some, starts[: len(some)], len(some))


@dataclass(frozen=True)
class Plan:
    """Which prompts are traced together (their ids), how many restorations at a time, and the predicted peak in bytes."""

    groups: list[list]
    size: int
    peak: int


def budget(device: torch.device, gib: float, workers: int) -> int:
    """Bytes for the tensors of one worker: of `gib` on a CPU, of the free memory on a GPU, there rounded down to a power
    of two so that a little more or less changes no batch."""
    if device.type != "cuda":
        return int(gib * 2**30) // workers
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return 1 << (int(free * GPU_SHARE).bit_length() - 1)


def plan(forecast: Forecast, shapes: dict, most: int, limit: int) -> Plan:
    """Groups of at most `most` prompts of one length, none above `limit` bytes; shapes: prompt_id -> Shape.

    The groups depend on the set of prompts, not on its order: within a length prompts go by their first corrupted token
    and their id. Memory decides first how many restorations of the largest prompt are computed at a time, then how many
    prompts. ValueError, with the number needed, if one restoration of one prompt does not fit.
    """
    outer = [[name] for name in _outermost(shapes)]
    size = min(_restorations(forecast, name, shapes[name], limit) for name, in outer)
    if most == 1:
        return Plan([[name] for name in shapes], size, max(forecast.peak([shapes[name]], size) for name, in outer))
    whole = all(forecast.peak([shapes[name]] * most, size) <= limit for name, in outer)  # then every class fits
    groups = []
    for members in _classes(shapes):
        fitting = most if whole else _prompts(forecast, shapes[members[0]], size, limit, most)
        groups += shards.split(members, -(-len(members) // fitting))
    place = {name: i for i, name in enumerate(shapes)}
    groups.sort(key=lambda group: min(place[name] for name in group))
    largest = sorted(groups, key=lambda group: -sum(shapes[name].rows + shapes[name].length for name in group))[:3]
    return Plan(groups, size, max(forecast.peak([shapes[name] for name in group], size) for group in largest))


def _classes(shapes: dict) -> list[list]:
    """The ids of prompts that may run together: of one length, and of one token if only one is restored."""
    found = {}
    for name in sorted(shapes, key=lambda name: (shapes[name].begin, name)):
        restored = shapes[name].tokens
        found.setdefault((shapes[name].length, restored if len(restored) == 1 else ()), []).append(name)
    return [members for _, members in sorted(found.items())]


def _outermost(shapes: dict) -> list:
    """Ids of prompts such that no other prompt has as many tokens and as many of them to compute."""
    found, most = [], 0
    for name in sorted(shapes, key=lambda name: (-shapes[name].length, -shapes[name].rows, name)):
        if shapes[name].rows > most:
            found, most = [*found, name], shapes[name].rows
    return found


def _restorations(forecast: Forecast, name, shape: Shape, limit: int) -> int:
    """How many restorations of one prompt fit at a time."""
    every = size = len(forecast.todo)
    while (peak := forecast.peak([shape], size)) > limit and size > 1:
        size //= 2
    if peak > limit:
        raise ValueError(f"prompt {name}, {shape.length} tokens: tracing it needs {_gib(peak)} GiB with one restoration at a "
                         f"time, {_gib(forecast.peak([shape], every))} with all; there are {_gib(limit)} for it (on a CPU "
                         "trace.memory divided by run.threads, on a GPU what is free)")
    return size


def _prompts(forecast: Forecast, shape: Shape, size: int, limit: int, most: int) -> int:
    """How many prompts of this shape fit together: memory is a straight line in their number."""
    one = forecast.peak([shape], size)
    slope = max(1, forecast.peak([shape] * 2, size) - one) if most > 1 else 1
    return max(1, min(most, 1 + (limit - one) // slope))


def _gib(count: int) -> str:
    return f"{count / 2**30:.3g}"
