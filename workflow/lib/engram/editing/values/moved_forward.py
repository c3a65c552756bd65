"""What a model says when one token's state is moved: only the tokens from it on, above one layer, are computed again.

A row is a text with a looked-up token. Moving that token's state after block `layer` changes neither the blocks up to
there nor any token before it. So the keys and values of those tokens (the prefix) are computed once for every block
above, and so is the state of the other tokens from the looked-up one on (the suffix) as block `layer` leaves it; in the
block after it they keep even their queries, keys and values. The last block is computed where it is read. Only delta
has a gradient.

Shapes: F facts, R rows a fact (the last is the essence), B = F·R rows, P longest prefix, n longest suffix, m reads a
row, d width, H heads, k width of a head.
"""

from dataclasses import dataclass, replace

import torch

from engram.editing.facts import Lookup
from engram.editing.values.block_gradient import Block, Pulled, at
from engram.model import tokens
from engram.model.adapters import Adapter

_STEP = 8  # tokens


@dataclass(frozen=True)
class Start:
    """What never changes: states [B, n, d] after block `layer`, and the originals [F, d] at the bare prompts'
    tokens.
    """

    states: torch.Tensor
    mlp: torch.Tensor
    hidden: torch.Tensor
    parts: torch.Tensor | None = (
        None  # [B, 2, d] at the looked-up tokens, before and from the MLP, where a norm is behind it
    )


@dataclass(frozen=True)
class Suffix:
    """Rows that are ready to be moved: of one fact by `prepare`, of many by `join`; `select` keeps some of the
    facts.
    """

    adapter: Adapter
    layer: int
    loss_layer: int
    per_fact: int
    start: Start
    places: torch.Tensor  # positions [B, 1, n]
    reads: torch.Tensor  # [B, m] within the suffix
    blocks: tuple[Block, ...]  # all of the model
    mask: torch.Tensor  # [B, H, n, P + n], minus infinity where a token does not look
    fixed: (
        torch.Tensor | None
    )  # q, k, v [B, 3, H, n - 1, k] of block layer + 1 at what does not move, if all rows pass it
    cache: dict  # block -> keys, values [B or F, H, P + n, k]: all rows up to loss_layer, above it the essence rows

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
            layer: tuple(tensor[rows if layer <= self.loss_layer else index] for tensor in pair)
            for layer, pair in self.cache.items()
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
        """Block outputs with delta [F, d] at every row's looked-up token, where they are read: of `loss_layer` for the
        targets [F, R - 1, m, d] and of the last block for the essence [F, d].
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
        found = (x if self._is_read else Pulled.apply(x, lambda x: at(x, self.reads))).unflatten(
            0, (facts, self.per_fact)
        )
        if self.loss_layer == self.adapter.layers - 1:
            return found[:, :-1], found[:, -1, 0]
        essence = slice(self.per_fact - 1, None, self.per_fact)
        x = self._through(range(self.loss_layer + 1, self.adapter.layers), x[essence], essence)
        return found[:, :-1], x[:, 0]

    @property
    def _is_read(self) -> bool:
        return self.layer < self.loss_layer == self.adapter.layers - 1

    def _through(self, layers: range, x: torch.Tensor, rows: slice) -> torch.Tensor:
        """Block outputs [.., n, d], or [.., m, d] at the reads if the last block is among `layers`."""
        for layer in layers:
            room = self.cache[layer]
            reads = self.reads[rows] if layer == self.adapter.layers - 1 else None
            fixed = self.fixed.movedim(1, 0) if layer == self.layer + 1 and self.fixed is not None else None
            x = Pulled.apply(
                x, lambda x: self.blocks[layer].output(x, room, self.mask[rows], self.places[rows], reads, fixed)
            )
        return x


@dataclass(frozen=True)
class Shape:
    """What facts share that are computed together: longest suffix n, room P for prefixes, reads m of a row."""

    suffix: int
    prefix: int
    reads: int


def shape(rows: list[Lookup], reads: int) -> Shape:
    """The shape of one fact's rows. Room for prefixes comes in steps, so that few shapes are enough."""
    longest = max(row.position for row in rows)
    return Shape(max(len(row.ids) - row.position for row in rows), _STEP * max(1, -(-longest // _STEP)), reads)


@torch.no_grad()
def prepare(lm, settings, loss_layer: int, rows: list[Lookup], reads: list[list[int]]) -> Suffix:
    """Run the rows of one fact, the bare prompt first and the essence last, as far as nothing moves.

    Of `settings` the layer and the site ("mlp" or "hidden") of what is moved are needed.
    `reads` are absolute positions in each row, none before its looked-up token; rows with fewer repeat the first.
    """
    ids, _ = tokens.pad([row.ids for row in rows], lm.device)
    position = torch.tensor([row.position for row in rows], device=lm.device)
    size = shape(rows, max(map(len, reads)))
    reads = (
        torch.tensor([row + row[:1] * (size.reads - len(row)) for row in reads], device=lm.device) - position[:, None]
    )
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
    mask = _mask(position, size, next(iter(cache.values()))[0]) if cache else None
    blocks = tuple(Block(adapter, block, lm.module("attn", block)) for block in range(lm.layers))
    return Suffix(adapter, layer, loss_layer, len(rows), start, places[:, None], reads, blocks, mask, fixed, cache)


def join(parts: list[Suffix]) -> Suffix:
    """The facts of several suffixes of one shape, one after the other."""
    if len(parts) == 1:
        return parts[0]
    longest = max(parts, key=lambda part: part.adapter.length)  # its tables of positions serve all

    def together(of):
        return None if of(parts[0]) is None else torch.cat([of(part) for part in parts])

    start = Start(*(together(lambda part: getattr(part.start, name)) for name in ("states", "mlp", "hidden", "parts")))
    cache = {block: tuple(together(lambda part: part.cache[block][i]) for i in (0, 1)) for block in longest.cache}
    return replace(
        longest,
        start=start,
        cache=cache,
        places=together(lambda part: part.places),
        reads=together(lambda part: part.reads),
        mask=together(lambda part: part.mask),
        fixed=together(lambda part: part.fixed),
    )


def _below(adapter: Adapter, layer: int, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Output of block `layer`, what its MLP is added to, and the output of its MLP [B, T, d]."""
    x = adapter.enter(adapter.embed(ids))
    for block in range(layer + 1):
        attended = adapter.add(block, "attn", x, adapter.attention(block, *adapter.heads(block, x, 0)))
        mlp = adapter.mlp(block, x, attended)
        x = adapter.add(block, "mlp", attended, mlp)
    return x, attended, mlp


def _mask(position: torch.Tensor, size: Shape, keys: torch.Tensor) -> torch.Tensor:
    """[B, H, n, P + n] for keys [.., H, P + n, k]: a suffix token looks at its row's own prefix and at the suffix up to
    it.
    """
    at, n = torch.arange(max(size.prefix, size.suffix), device=position.device), size.suffix
    before = (at[: size.prefix] < position[:, None])[:, None].expand(-1, n, -1)
    suffix = (at[:n] <= at[:n, None]).expand(len(position), -1, -1)
    seen = torch.cat((before, suffix), -1)[:, None].expand(-1, keys.shape[1], -1, -1)
    return torch.zeros(seen.shape, device=seen.device, dtype=keys.dtype).masked_fill_(~seen, -torch.inf)


def _cache(lm, layer: int, loss_layer: int, x: torch.Tensor, size: Shape) -> dict:
    """Keys and values of the prefixes in every block above `layer`, from its output x [R, <= P, d], with room for n
    more.
    """
    adapter, found = Adapter(lm, x.shape[1]), {}
    room = (0, 0, 0, size.prefix + size.suffix - x.shape[1])
    for block in range(layer + 1, adapter.layers):
        if block == loss_layer + 1:
            x = x[-1:]
        q, k, v = adapter.heads(block, x, 0)
        wide = k.float() if adapter.parts.attention_float32 else k
        found[block] = tuple(torch.nn.functional.pad(tensor, room) for tensor in (wide, v))
        if block < adapter.layers - 1:
            attended = adapter.add(block, "attn", x, adapter.attention(block, q, k, v))
            x = adapter.add(block, "mlp", attended, adapter.mlp(block, x, attended))
    return found
