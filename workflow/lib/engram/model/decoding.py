"""A forward that reads a few tokens at a time and keeps what it needs of the earlier ones: keys and values in fixed
buffers.

It computes what the model's own forward with a cache computes (tests compare them), without its cost per step: no mask,
no cache object, no copy of the past. All rows have the same length at any time, so nothing is padded. Shapes: R rows
read, B rows kept, n tokens read, t tokens before them, H heads, k width of a head, d width.
"""

import torch
from torch.nn import functional as F

from engram.model import gelu
from engram.model.adapters import TANH_GELU, Adapter

STRETCH = 16  # tokens by which the room of a CPU's cache grows


class Decoder:
    """Rows that grow together, up to `length` tokens. ValueError if the model has fewer positions.

    `spare`: memory that earlier decoders of the same thread have left, and that this one leaves (`leave`).
    """

    def __init__(self, lm, length: int, spare: list | None = None):
        self.lm, self.adapter, self.length, self.read_so_far = lm, Adapter(lm, length, what="text"), length, 0
        self.parts, attns = self.adapter.parts, [lm.module("attn", layer) for layer in range(lm.layers)]
        self.scales, self.caps = ([of(attn) for attn in attns] for of in (self.parts.scale, self.parts.cap))
        self.caches, self.spare = [], [] if spare is None else spare

    def start(self, ids: torch.Tensor, copies: torch.Tensor) -> torch.Tensor:
        """Read the first tokens, ids [R, n]; row i of what follows continues row copies[i]. Hidden [B, d] of the last
        token.
        """
        kept = []

        def attend(layer, q, kv):
            kept.append(kv)
            q, k, v = self._casted(q, *kv)
            if self.caps[layer] is not None:
                return _capped(q * self.scales[layer], k, v, self.caps[layer])
            return F.scaled_dot_product_attention(q, k, v.to(q.dtype), is_causal=True, scale=self.scales[layer])

        hidden = self._forward(ids, attend)
        cache = Fixed if any(self.caps) else CACHES.get(ids.device.type, Fixed)
        self.caches = [cache(kv[:, copies], self.length, self.spare) for kv in kept]
        return hidden[copies]

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Read one more token of every row, ids [B, 1]; hidden [B, d] after the final norm."""

        def attend(layer, q, kv):
            return self.caches[layer].attend(q, kv, self.scales[layer], self._casted, self.caps[layer])

        return self._forward(ids, attend)

    def leave(self) -> None:
        """Give up the kept keys and values; the next decoder may write where they are."""
        self.spare.extend(cache.memory for cache in self.caches if isinstance(cache, Packed))
        self.caches = []

    def _casted(self, q, k, v):
        """q, k, v as this architecture's attention computes with them."""
        return (q.float(), k.float(), v) if self.parts.attention_float32 else (q, k, v)

    def _forward(self, ids: torch.Tensor, attend) -> torch.Tensor:
        begin, end = self.read_so_far, self.read_so_far + ids.shape[1]
        x = self.adapter.enter(self.adapter.embed(ids), begin)
        for layer in range(self.lm.layers):
            x = self._block(layer, x, begin, attend)
        self.read_so_far = end
        return self.lm.final(x[:, -1])

    def _block(self, layer: int, x: torch.Tensor, begin: int, attend) -> torch.Tensor:
        adapter = self.adapter
        heads = adapter.heads(layer, x, begin)  # [3, R, H, n, k]
        mixed = attend(layer, heads[0], heads[1:]).to(x.dtype)
        attended = adapter.add(layer, "attn", x, adapter.project(layer, mixed.transpose(1, 2)))
        read = adapter.normed(layer, "mlp", x if adapter.parallel else attended)
        return adapter.add(layer, "mlp", attended, self._mlp(layer, read))

    def _mlp(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        pieces = self.adapter.mlp_pieces(layer)
        if pieces is None or not isinstance(pieces[1], TANH_GELU):
            return self.adapter.plain_mlp(layer, x)
        inner = pieces[0](x)
        return pieces[2](inner.mul_(gelu.gate(inner)) if x.device.type == "cpu" else F.gelu(inner, approximate="tanh"))


def _capped(q, k, v, cap: float):
    """softmax(c tanh(q kᵀ / c)) v; query i of n sees the keys up to the (t - n + i)-th."""
    scores = (q @ k.transpose(-1, -2)).div_(cap).tanh_().mul_(cap).to(torch.promote_types(q.dtype, torch.float32))
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(
        1 + scores.shape[-1] - scores.shape[-2]
    )
    return scores.masked_fill_(hidden, -torch.inf).softmax(-1).to(v.dtype) @ v


class Fixed:
    """Keys and values [2, B, H, t, k] of one layer in a buffer of the final length: for a GPU, whose attention reads
    slices well.
    """

    def __init__(self, kv: torch.Tensor, length: int, spare: list):
        self.count = kv.shape[3]
        self.kv = kv.new_empty(*kv.shape[:3], length, kv.shape[4])
        self.kv[:, :, :, : self.count] = kv

    def attend(self, q, kv, scale: float, casted, cap: float | None = None) -> torch.Tensor:
        """softmax(q kᵀ scale) v for one new token a row: q [B, H, 1, k], its key and value [2, B, H, 1, k]."""
        self.kv[:, :, :, self.count] = kv[:, :, :, 0]
        self.count += 1
        q, k, v = casted(q, *self.kv[:, :, :, : self.count])
        if cap is not None:
            return _capped(q * scale, k, v, cap)
        return F.scaled_dot_product_attention(q, k, v.to(q.dtype), scale=scale)


class Packed:
    """The same for a CPU, which reads what lies in one piece several times faster than slices of a larger buffer.

    So the room for new tokens grows by stretches, and what is behind the last token is computed and masked. A growing
    layer moves to memory that the one before it has left (`spare`, one list for all layers): fresh memory costs more
    than the move.
    """

    def __init__(self, kv: torch.Tensor, length: int, spare: list):
        self.count, self.spare = 0, spare
        self.shape, self.most = (2, kv.shape[1] * kv.shape[2], kv.shape[4]), -(-length // STRETCH) * STRETCH
        self.kv = kv.new_empty(2, self.shape[1], 0, self.shape[2])
        self._grow(kv.shape[3])
        self.count = kv.shape[3]
        self.kv[:, :, : self.count] = kv.flatten(1, 2)

    def _grow(self, tokens: int) -> None:
        """Room for `tokens` or more. Zeros behind the last token, since nothing masked may be nan."""
        two, rows, width = self.shape
        room = -(-tokens // STRETCH) * STRETCH
        memory = self._taken(two * rows * self.most * width)
        kv = memory[: two * rows * room * width].view(two, rows, room, width)
        kv[:, :, : self.count] = self.kv[:, :, : self.count]
        kv[:, :, self.count :] = 0
        if self.count:
            self.spare.append(self.memory)
        self.kv, self.memory = kv, memory

    def _taken(self, size: int) -> torch.Tensor:
        while self.spare:
            memory = self.spare.pop()
            if memory.numel() >= size and memory.dtype == self.kv.dtype:
                return memory
        return self.kv.new_empty(size)

    def attend(self, q, kv, scale: float, casted, cap: float | None = None) -> torch.Tensor:
        """softmax(q kᵀ scale) v for one new token a row: q [B, H, 1, k], its key and value [2, B, H, 1, k]."""
        if self.count == self.kv.shape[2]:
            self._grow(self.count + 1)
        self.kv[:, :, self.count] = kv.flatten(1, 2)[:, :, 0]
        self.count += 1
        q, k, v = casted(q.flatten(0, 1), *self.kv)
        scores = torch.bmm(q, k.transpose(1, 2)).mul_(scale)
        scores[..., self.count :] = -torch.inf
        return torch.bmm(scores.softmax(-1).to(v.dtype), v).view(kv.shape[1:])


CACHES = {"cpu": Packed}  # by type of device; others: Fixed
