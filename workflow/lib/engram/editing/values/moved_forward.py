"""What a model says when one token's state is moved: only the tokens from it on, above one layer, are computed again.

A row is a text with a looked-up token. Moving that token's state after block `layer` changes neither the blocks up to
there nor any token before it. So the keys and values of those tokens (the prefix) are computed once for every block
above, and so is the state of the other tokens from the looked-up one on (the suffix) as block `layer` leaves it; in the
block after it they keep even their queries, keys and values. The last block is computed where it is read. Only delta
has a gradient.

Shapes: F facts, R rows a fact (the last is the essence), B = F·R rows, P longest prefix, n longest suffix, m reads a
row, d width, H heads, k width of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from engram.editing.facts import Lookup
from engram.editing.values.block_gradient import Block, Pulled, at
from engram.model import tokens
from engram.model.adapters import Adapter
from engram.model.loading import LM
from engram.settings.objective import Settings

_STEP = 8  # tokens


@dataclass(frozen=True)
class Start:
    """What never changes: the states after block `layer`, and the original values."""

    states: torch.Tensor  # [B, n, d]
    mlp: torch.Tensor  # [F, d], the MLP's output at the looked-up token of the bare prompt
    hidden: torch.Tensor  # [F, d], the block's output there
    # [B, 2, d] at the looked-up tokens: what the MLP's output is added to, and that output; where a norm is behind it
    parts: torch.Tensor | None = None


@dataclass(frozen=True)
class Suffix:
    """Rows that are ready to be moved: those of one fact come from `prepare`, those of many from `join`."""

    adapter: Adapter
    layer: int
    loss_layer: int
    per_fact: int
    start: Start
    places: torch.Tensor  # positions [B, 1, n]
    reads: torch.Tensor  # [B, m] within the suffix
    blocks: tuple[Block, ...]  # all of the model
    mask: torch.Tensor  # [B, H, n, P + n], minus infinity where a token does not look; empty without a block above
    # q, k, v [B, 3, H, n - 1, k] of block layer + 1 at what does not move, if all rows pass it
    fixed: torch.Tensor | None
    # block -> keys, values [B or F, H, P + n, k]: of all rows up to loss_layer, above it of the essence rows
    cache: dict[int, tuple[torch.Tensor, torch.Tensor]]

    def select(self, facts: list[int]) -> "Suffix":
        """The rows of some facts, by their index, in that order."""
        index = torch.tensor(facts, device=self.places.device)
        rows = (index[:, None] * self.per_fact + torch.arange(self.per_fact, device=index.device)).flatten()
        start = Start(
            self.start.states[rows],
            self.start.mlp[index],
            self.start.hidden[index],
            None if self.start.parts is None else self.start.parts[rows],
        )
        cache = {
            layer: (keys[own], values[own])
            for layer, (keys, values) in self.cache.items()
            for own in [rows if layer <= self.loss_layer else index]
        }
        return replace(
            self,
            start=start,
            places=self.places[rows],
            reads=self.reads[rows],
            mask=self.mask[rows],
            fixed=None if self.fixed is None else self.fixed[rows],
            cache=cache,
        )

    def moved(self, delta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Block outputs, where they are read, with delta [F, d] added at every row's looked-up token.

        Those of `loss_layer` for the targets [F, R - 1, m, d], and of the last block for the essence [F, d].
        """
        facts, states = len(delta), self.start.states
        delta = delta[:, None].expand(-1, self.per_fact, -1).flatten(0, 1)
        if self.start.parts is None:
            token = (states[:, 0] + delta).to(states.dtype)
        else:
            attended, mlp = self.start.parts.unbind(1)
            token = self.adapter.add(self.layer, "mlp", attended, (mlp + delta).to(states.dtype))
        x = torch.cat((token[:, None], states[:, 1:]), 1)
        x = self._through(range(self.layer + 1, self.loss_layer + 1), x, slice(None))
        read = x if self._is_read else Pulled.apply(x, lambda x: at(x, self.reads))
        read = read.unflatten(0, (facts, self.per_fact))
        if self.loss_layer == self.adapter.layers - 1:
            return read[:, :-1], read[:, -1, 0]
        essence = slice(self.per_fact - 1, None, self.per_fact)
        x = self._through(range(self.loss_layer + 1, self.adapter.layers), x[essence], essence)
        return read[:, :-1], x[:, 0]

    @property
    def _is_read(self) -> bool:
        """Whether the last block, which computes no more than is read, has been passed by all rows."""
        return self.layer < self.loss_layer == self.adapter.layers - 1

    def _through(self, layers: range, x: torch.Tensor, rows: slice) -> torch.Tensor:
        """The output [.., n, d] of the blocks `layers`, one after the other, for x [.., n, d].

        It is [.., m, d], at the reads, if the model's last block is among them.
        """
        for layer in layers:
            reads = self.reads[rows] if layer == self.adapter.layers - 1 else None
            fixed = self.fixed.movedim(1, 0) if layer == self.layer + 1 and self.fixed is not None else None
            piece = partial(
                self.blocks[layer].output,
                room=self.cache[layer],
                mask=self.mask[rows],
                places=self.places[rows],
                reads=reads,
                fixed=fixed,
            )
            x = Pulled.apply(x, piece)
        return x


@dataclass(frozen=True)
class Shape:
    """The sizes that facts must share to be computed together: longest suffix n, room P for prefixes, reads m."""

    suffix: int
    prefix: int
    reads: int


def shape(rows: list[Lookup], reads: int) -> Shape:
    """The shape of one fact's rows, of which `reads` positions are read at most.

    Room for prefixes comes in steps, so that few shapes are enough.
    """
    longest = max(row.position for row in rows)
    return Shape(max(len(row.ids) - row.position for row in rows), _STEP * max(1, -(-longest // _STEP)), reads)


@torch.no_grad()
def prepare(lm: LM, settings: Settings, loss_layer: int, rows: list[Lookup], positions: list[list[int]]) -> Suffix:
    """Run the rows of one fact, the bare prompt first and the essence last, as far as nothing moves.

    Of `settings` the layer and the site ("mlp" or "hidden") of what is moved are needed. `positions` are where each row
    is read, none before its looked-up token; rows with fewer repeat the first.
    """
    ids, _ = tokens.pad([row.ids for row in rows], lm.device)
    position = torch.tensor([row.position for row in rows], device=lm.device)
    size = shape(rows, max(map(len, positions)))
    reads = torch.tensor([row + row[:1] * (size.reads - len(row)) for row in positions], device=lm.device)
    reads -= position[:, None]
    adapter, layer = Adapter(lm, ids.shape[1]), settings.layer
    x, attended, mlp = _below(adapter, layer, ids)
    places = (position[:, None] + torch.arange(size.suffix, device=lm.device)).clamp(max=ids.shape[1] - 1)
    index = torch.arange(len(rows), device=lm.device)
    states = x[index[:, None], places]
    apart = settings.site == "mlp" and not adapter.plain
    start = Start(
        states,
        mlp[:1, rows[0].position],
        x[:1, rows[0].position],
        torch.stack((attended, mlp), 2)[index, position] if apart else None,
    )
    fixed = adapter.heads(layer + 1, states[:, 1:], places[:, None, 1:]).movedim(1, 0) if layer < loss_layer else None
    cache = _cache(lm, layer, loss_layer, x[:, : max(1, int(position.max()))], size)
    mask = _mask(position, size, next(iter(cache.values()))[0]) if cache else states.new_empty(len(rows), 0)
    blocks = tuple(Block(adapter, block, lm.module("attn", block)) for block in range(lm.layers))
    return Suffix(adapter, layer, loss_layer, len(rows), start, places[:, None], reads, blocks, mask, fixed, cache)


def join(parts: list[Suffix]) -> Suffix:
    """The facts of several suffixes of one shape, one after the other."""
    if len(parts) == 1:
        return parts[0]
    longest = max(parts, key=lambda part: part.adapter.length)  # its tables of positions serve all

    def joined(objects: Sequence[Start | Suffix], *names: str) -> dict[str, Any]:
        """The tensors `names` of all the objects, one object after the other; None where they have none."""
        columns = {name: [getattr(one, name) for one in objects] for name in names}
        return {name: None if tensors[0] is None else torch.cat(tensors) for name, tensors in columns.items()}

    start = Start(**joined([part.start for part in parts], "states", "mlp", "hidden", "parts"))
    caches = {block: list(zip(*(part.cache[block] for part in parts))) for block in longest.cache}
    cache = {block: (torch.cat(keys), torch.cat(values)) for block, (keys, values) in caches.items()}
    return replace(longest, start=start, cache=cache, **joined(parts, "places", "reads", "mask", "fixed"))


def _below(adapter: Adapter, layer: int, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For token ids [B, T] the output of block `layer`, what its MLP's output is added to, and that, [B, T, d]."""
    x = adapter.enter(adapter.embed(ids))
    for block in range(layer + 1):
        attended = adapter.add(block, "attn", x, adapter.attention(block, *adapter.heads(block, x, 0)))
        mlp = adapter.mlp(block, x, attended)
        x = adapter.add(block, "mlp", attended, mlp)
    return x, attended, mlp


def _mask(position: torch.Tensor, size: Shape, keys: torch.Tensor) -> torch.Tensor:
    """The mask [B, H, n, P + n] for keys [.., H, P + n, k] and looked-up positions [B].

    A suffix token looks at its row's own prefix, and at the suffix up to itself.
    """
    at, n = torch.arange(max(size.prefix, size.suffix), device=position.device), size.suffix
    before = (at[: size.prefix] < position[:, None])[:, None].expand(-1, n, -1)
    suffix = (at[:n] <= at[:n, None]).expand(len(position), -1, -1)
    seen = torch.cat((before, suffix), -1)[:, None].expand(-1, keys.shape[1], -1, -1)
    return torch.zeros(seen.shape, device=seen.device, dtype=keys.dtype).masked_fill_(~seen, -torch.inf)


def _cache(
    lm: LM, layer: int, loss_layer: int, x: torch.Tensor, size: Shape
) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values of the prefixes in every block above `layer`, whose output is x [R, <= P, d]; room for n more."""
    adapter, cache = Adapter(lm, x.shape[1]), {}
    room = (0, 0, 0, size.prefix + size.suffix - x.shape[1])
    for block in range(layer + 1, adapter.layers):
        if block == loss_layer + 1:
            x = x[-1:]
        q, k, v = adapter.heads(block, x, 0)
        wide = k.float() if adapter.parts.attention_float32 else k
        cache[block] = torch.nn.functional.pad(wide, room), torch.nn.functional.pad(v, room)
        if block < adapter.layers - 1:
            attended = adapter.add(block, "attn", x, adapter.attention(block, q, k, v))
            x = adapter.add(block, "mlp", attended, adapter.mlp(block, x, attended))
    return cache
