"""A forward that reads a few tokens at a time and keeps keys and values of the earlier ones in fixed buffers.

It computes what the model's own forward with a cache computes (tests compare them), without its cost per step: no mask,
no cache object, no copy of the past. All rows have the same length at any time, so nothing is padded. What is drawn
from its states: engram.model.generation.
Shapes: R rows read, B rows kept, n tokens read, t tokens before them, H heads, k width of a head, d width, h width that
the head reads.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from engram.model import gelu
from engram.model.adapters import TANH_GELU, Adapter
from engram.model.loading import LM

STRETCH = 16  # tokens by which the room of a CPU's cache grows
Attend = Callable[[int, Tensor, Tensor], Tensor]  # (layer, q, keys and values) -> [R, H, n, k]


@dataclass(frozen=True)
class Scores:
    """How one layer's attention makes scores of queries and keys: their factor, cap and dtype (block_parts.Parts)."""

    scale: float
    cap: float | None
    float32: bool

    def cast(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The arguments q, k, v as this attention computes with them."""
        return (q.float(), k.float(), v) if self.float32 else (q, k, v)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """softmax(scores) v [R, H, n, k]; query i of n sees the keys up to the (t - n + i)-th of t."""
        q, k, v = self.cast(q, k, v)
        if self.cap is not None:
            return _capped(q * self.scale, k, v, self.cap)
        return F.scaled_dot_product_attention(q, k, v.to(q.dtype), is_causal=q.shape[2] == k.shape[2], scale=self.scale)


class Decoder:
    """Texts that a model reads side by side, each up to `length` tokens. ValueError if the model has fewer positions.

    `spare`: memory that earlier decoders of the same thread have left, and that this one leaves (`leave`).
    """

    def __init__(self, lm: LM, length: int, spare: list[Tensor] | None = None) -> None:
        self.lm, self.adapter, self.length, self.read_so_far = lm, Adapter(lm, length, what="text"), length, 0
        parts, attns = self.adapter.parts, [lm.module("attn", layer) for layer in range(lm.layers)]
        self.scores = [Scores(parts.scale(attn), parts.cap(attn), parts.attention_float32) for attn in attns]
        self.caches: list[Fixed | Packed] = []
        self.spare = [] if spare is None else spare

    def start(self, ids: Tensor, copies: Tensor) -> Tensor:
        """Hidden states [B, h] of the last token after the first tokens, ids [R, n], are read; see `step`.

        Row i of what follows continues row copies[i] of `ids`.
        """
        kept = []

        def attend(layer: int, q: Tensor, kv: Tensor) -> Tensor:
            kept.append(kv)
            return self.scores[layer].attend(q, *kv)

        hidden = self._forward(ids, attend)
        capped = any(scores.cap for scores in self.scores)
        cache = Fixed if capped else CACHES.get(ids.device.type, Fixed)
        self.caches = [cache(kv[:, copies], self.length, self.spare, own) for kv, own in zip(kept, self.scores)]
        return hidden[copies]

    def step(self, ids: Tensor) -> Tensor:
        """Hidden states [B, h] after the final norm, after one more token of every row, ids [B, 1], is read."""
        return self._forward(ids, lambda layer, q, kv: self.caches[layer].attend(q, kv))

    def leave(self) -> None:
        """Give up the kept keys and values, so that the next decoder may write where they are."""
        memories = (cache.memory for cache in self.caches if isinstance(cache, Packed))
        self.spare.extend(memory for memory in memories if memory is not None)
        self.caches = []

    def _forward(self, ids: Tensor, attend: Attend) -> Tensor:
        begin, end = self.read_so_far, self.read_so_far + ids.shape[1]
        x = self.adapter.enter(self.adapter.embed(ids), begin)
        for layer in range(self.lm.layers):
            x = self._block(layer, x, begin, attend)
        self.read_so_far = end
        return self.lm.final(x[:, -1])

    def _block(self, layer: int, x: Tensor, begin: int, attend: Attend) -> Tensor:
        adapter = self.adapter
        heads = adapter.heads(layer, x, begin)  # [3, R, H, n, k]
        mixed = attend(layer, heads[0], heads[1:]).to(x.dtype)
        attended = adapter.add(layer, "attn", x, adapter.project(layer, mixed.transpose(1, 2)))
        read = adapter.normed(layer, "mlp", x if adapter.parallel else attended)
        return adapter.add(layer, "mlp", attended, self._mlp(layer, read))

    def _mlp(self, layer: int, x: Tensor) -> Tensor:
        pieces = self.adapter.mlp_pieces(layer)
        if pieces is None or not isinstance(pieces[1], TANH_GELU):
            return self.adapter.plain_mlp(layer, x)
        inner = pieces[0](x)
        return pieces[2](inner.mul_(gelu.gate(inner)) if x.device.type == "cpu" else F.gelu(inner, approximate="tanh"))


def _capped(q: Tensor, k: Tensor, v: Tensor, cap: float) -> Tensor:
    """softmax(c tanh(q kᵀ / c)) v; query i of n sees the keys up to the (t - n + i)-th."""
    scores = (q @ k.transpose(-1, -2)).div_(cap).tanh_().mul_(cap).to(torch.promote_types(q.dtype, torch.float32))
    later = 1 + scores.shape[-1] - scores.shape[-2]
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(later)
    return scores.masked_fill_(hidden, -torch.inf).softmax(-1).to(v.dtype) @ v


class Fixed:
    """Keys and values [2, B, H, t, k] of one layer in a buffer of the final length.

    For a GPU, whose attention reads slices well.
    """

    def __init__(self, kv: Tensor, length: int, _spare: list[Tensor], scores: Scores) -> None:
        self.count, self.scores = kv.shape[3], scores
        self.kv = kv.new_empty(*kv.shape[:3], length, kv.shape[4])
        self.kv[:, :, :, : self.count] = kv

    def attend(self, q: Tensor, kv: Tensor) -> Tensor:
        """softmax(scores) v [B, H, 1, k] for one new token a row: q [B, H, 1, k], its key and value [2, B, H, 1, k]."""
        self.kv[:, :, :, self.count] = kv[:, :, :, 0]
        self.count += 1
        return self.scores.attend(q, *self.kv[:, :, :, : self.count])


class Packed:
    """Keys and values [2, B · H, t, k] of one layer in one piece; for a CPU, which reads slices several times slower.

    Room for new tokens grows by stretches, and what is behind the last token is computed and masked. A growing layer
    moves to memory that the one before it has left (`spare`, one list for all layers): fresh memory costs more than the
    move.
    """

    def __init__(self, kv: Tensor, length: int, spare: list[Tensor], scores: Scores) -> None:
        self.count, self.spare, self.scores = 0, spare, scores
        self.memory: Tensor | None = None
        self.shape, self.most = (2, kv.shape[1] * kv.shape[2], kv.shape[4]), -(-length // STRETCH) * STRETCH
        self.kv = kv.new_empty(2, self.shape[1], 0, self.shape[2])
        self._grow(kv.shape[3])
        self.count = kv.shape[3]
        self.kv[:, :, : self.count] = kv.flatten(1, 2)

    def _grow(self, tokens: int) -> None:
        """Make room for `tokens` or more, with zeros behind the last token, since nothing masked may be nan."""
        two, rows, width = self.shape
        room = -(-tokens // STRETCH) * STRETCH
        memory = self._taken(two * rows * self.most * width)
        kv = memory[: two * rows * room * width].view(two, rows, room, width)
        kv[:, :, : self.count] = self.kv[:, :, : self.count]
        kv[:, :, self.count :] = 0
        if self.memory is not None:
            self.spare.append(self.memory)
        self.kv, self.memory = kv, memory

    def _taken(self, size: int) -> Tensor:
        """Memory of at least `size` numbers: spare memory that is large enough, or new."""
        while self.spare:
            memory = self.spare.pop()
            if memory.numel() >= size and memory.dtype == self.kv.dtype:
                return memory
        return self.kv.new_empty(size)

    def attend(self, q: Tensor, kv: Tensor) -> Tensor:
        """softmax(scores) v [B, H, 1, k] for one new token a row: q [B, H, 1, k], its key and value [2, B, H, 1, k]."""
        if self.count == self.kv.shape[2]:
            self._grow(self.count + 1)
        self.kv[:, :, self.count] = kv.flatten(1, 2)[:, :, 0]
        self.count += 1
        q, k, v = self.scores.cast(q.flatten(0, 1), *self.kv)
        scores = torch.bmm(q, k.transpose(1, 2)).mul_(self.scores.scale)
        scores[..., self.count :] = -torch.inf
        return torch.bmm(scores.softmax(-1).to(v.dtype), v).view(kv.shape[1:])


CACHES: dict[str, type[Fixed | Packed]] = {"cpu": Packed}  # by type of device; others: Fixed
