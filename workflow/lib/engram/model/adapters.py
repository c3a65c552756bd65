"""What a transformers block computes, in pieces, so that causal tracing and editing can start or stop between them.

The names of the pieces are in engram.model.block_parts. Each method does what the model's own forward does (tests
compare them); only the order of work differs. Whole forwards with hooks: engram.model.hooks.
Shapes: R sequences, n tokens, T tokens of the text, d width, H heads, k width of a head, V vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import activations

from engram.model import block_parts, gelu
from engram.model.loading import LM

TANH_GELU = (activations.NewGELUActivation, activations.GELUTanh)  # one function under two names
_MLP_ROWS = 512  # rows of the MLP's inner layer that stay in a CPU's cache
_MLP_ROWS_GPU = 65536  # enough to keep a GPU busy; more would only take memory
_ATTENTION_ROWS = 32768  # sequences of one attention kernel on a GPU, whose grid ends at 65,535
_HEAD_ROWS = 512  # rows whose distributions over the vocabulary exist at a time
Part = Literal["attn", "mlp"]


class Adapter:
    """The pieces of one model's blocks, for texts of `length` tokens (T).

    `device`: the type of device whose ways of computing are used; that of the model unless given, as it must be for a
    model on "meta". `what`: what the text is called in an error. ValueError for an architecture without a row in
    engram.model.block_parts, or a text that is too long for it.
    """

    def __init__(self, lm: LM, length: int, device: str | None = None, what: str = "prompt") -> None:
        self.lm, self.length, self.layers = lm, length, lm.layers
        self.on_cpu = (device or lm.device.type) == "cpu"
        self.parts = block_parts.parts_of(lm)
        block_parts.check_length(lm, length, what)
        config = lm.model.config
        self.parallel, self.norms_first = self.parts.parallel(config), self.parts.norms_first(config)
        self.plain = self.norms_first and self.parts.norms_after is None  # no norm of a result nor of a sum
        self.rotary = self.parts.rotary and self.parts.rotary(lm, length)
        self.mask = torch.full((length, length), -torch.inf, device=lm.device, dtype=lm.model.dtype).triu(1)
        self._blocks = [lm.module("block", layer) for layer in range(lm.layers)]
        self._attns = [lm.module("attn", layer) for layer in range(lm.layers)]
        self._mlps = [lm.module("block" if self.parts.mlp_in_block else "mlp", layer) for layer in range(lm.layers)]

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings [.., d] of ids [..]: what the corruption of causal tracing acts on."""
        return self.lm.module("embed")(ids)

    def enter(self, x: Tensor, begin: int = 0) -> Tensor:
        """The input [R, n, d] of block 0 from token embeddings [R, n, d] at the positions from `begin` on."""
        base = getattr(self.lm.model.base_model, "decoder", self.lm.model.base_model)
        into, learnt = (getattr(base, name, None) for name in ("project_in", "embed_positions"))
        positions = getattr(base, "wpe", learnt)
        x = x if into is None else into(x)
        begin += getattr(positions, "offset", 0)
        return x if positions is None else x + positions.weight[begin : begin + x.shape[1]]

    def heads(self, layer: int, x: Tensor, begin: int | Tensor) -> Tensor:
        """Queries, keys and values [3, R, H, n, k] of block inputs x [R, n, d], rotated by their positions.

        The positions are begin .. begin + n - 1, or those that the tensor `begin` holds: [n], or [R, 1, n] where every
        sequence has its own.
        """
        normed = self.normed(layer, "attn", x)
        heads = self.parts.heads(self._attns[layer], normed).transpose(2, 3)
        if not self.rotary:
            return heads
        cos, sin, turn = self.rotary[layer]
        positions = slice(begin, begin + x.shape[1]) if isinstance(begin, int) else begin
        return torch.cat((_rotated(heads[:2], cos[positions], sin[positions], turn), heads[2:]))

    def attention(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The attention module's output [R, n, d] at the last n positions: q [R, H, n, k], k and v [R, H, T, k]."""
        return self.project(layer, self.mix(layer, q, k, v))

    def project(self, layer: int, mixed: Tensor) -> Tensor:
        """The attention module's output [.., d] from what its heads have read [.., H, k]."""
        return getattr(self._attns[layer], self.parts.out)(mixed.flatten(-2))

    def mix(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """What the heads read, softmax(q kᵀ) v [R, n, H, k], at the last n positions; shapes as for `attention`."""
        wide = v.dtype
        if self.parts.attention_float32:
            q, k = q.float(), k.float()
        scale = self.parts.scale(self._attns[layer])
        mask = self.mask[self.length - q.shape[2] :].to(q.dtype) if q.shape[2] > 1 else None
        cap = self.parts.cap(self._attns[layer])
        if self.on_cpu or cap is not None:
            return _attend(q * scale, k, v, mask, cap).transpose(1, 2)
        chunks = zip(*(x.split(_ATTENTION_ROWS) for x in (q, k, v.to(q.dtype))))
        return _joined(
            [F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).to(wide) for q, k, v in chunks]
        ).transpose(1, 2)

    def mlp(self, layer: int, x: Tensor, attended: Tensor) -> Tensor:
        """The MLP module's output [.., d] from the block's input x [.., d] and `attended` [.., d], x after attention.

        Memory of intermediate values is written over, so no gradient passes; see `plain_mlp`.
        """
        source = x if self.parallel else attended
        normed = self.normed(layer, "mlp", source)
        pieces = self.mlp_pieces(layer)
        if pieces is None:
            return self._mlps[layer](normed)
        first, act, last = pieces
        chunks = normed.flatten(0, -2).split(_MLP_ROWS if self.on_cpu else _MLP_ROWS_GPU)
        return _joined([last(_activate(act, first(chunk), self.on_cpu)) for chunk in chunks]).view(source.shape)

    def mlp_pieces(self, layer: int) -> tuple[torch.nn.Module, torch.nn.Module, torch.nn.Module] | None:
        """First projection, activation function and last projection of the MLP; None if the MLP has a gate."""
        module, names = self._mlps[layer], self.parts.mlp
        return names and (getattr(module, names[0]), getattr(module, self.parts.act), getattr(module, names[1]))

    def plain_mlp(self, layer: int, normed: Tensor) -> Tensor:
        """The MLP's output [.., d] from its normed input [.., d]; nothing is written over, so gradients pass."""
        pieces = self.mlp_pieces(layer) if self.parts.mlp_in_block else None
        if pieces is None:
            return self._mlps[layer](normed)
        first, act, last = pieces
        return last(act(first(normed)))

    def normed(self, layer: int, part: Part, x: Tensor) -> Tensor:
        """What the attention or the MLP of a block reads of the state x [.., d]."""
        return self.norm(layer, part)(x) if self.norms_first else x

    def norm(self, layer: int, part: Part) -> torch.nn.Module:
        """The norm before the attention or the MLP, or of the sum after it where `norms_first` is False."""
        return getattr(self._blocks[layer], self.parts.attn_norm if part == "attn" else self.parts.mlp_norm)

    def norm_after(self, layer: int, part: Part) -> torch.nn.Module | None:
        """The norm of what the attention or the MLP returns, before it is added; None where there is none."""
        return self.parts.norms_after and getattr(self._blocks[layer], self.parts.norms_after[part == "mlp"])

    def add(self, layer: int, part: Part, x: Tensor, output: Tensor) -> Tensor:
        """The state [.., d] after the attention or the MLP has returned `output` [.., d] in the state x [.., d].

        After "mlp" it is the block's output.
        """
        norm = self.norm_after(layer, part)
        output = output if norm is None else norm(output)
        return x + output if self.norms_first else self.norm(layer, part)(x + output)

    def probability(self, x: Tensor, answers: Tensor) -> Tensor:
        """p(answer) [R] in float64, from the last block's output x [R, d] and token ids `answers` [R].

        Distributions over the vocabulary exist for a few rows at a time.
        """
        chances = []
        for rows, ids in zip(x.split(_HEAD_ROWS), answers.split(_HEAD_ROWS)):
            logits = self.lm.logits(self.lm.final(rows))
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            chances.append(wide.gather(1, ids[:, None])[:, 0].double() - wide.logsumexp(-1).double())
        return torch.cat(chances).exp()


def _joined(pieces: Sequence[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(list(pieces))


def _rotated(x: Tensor, cos: Tensor, sin: Tensor, turn: Callable[[Tensor], Tensor]) -> Tensor:
    width = cos.shape[-1]
    rotating = x[..., :width]
    return torch.cat((rotating * cos + turn(rotating) * sin, x[..., width:]), -1)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, cap: float | None) -> Tensor:
    """softmax(q kᵀ + mask) v; the softmax spelled out, because torch's is slow over a handful of keys on a CPU."""
    rows, heads, n, width = q.shape
    scores = torch.bmm(q.reshape(-1, n, width), k.flatten(0, 1).transpose(1, 2))
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if cap is not None:
        scores = scores.div_(cap).tanh_().mul_(cap)
    if mask is not None:
        scores += mask
    scores = scores.sub_(scores.amax(-1, keepdim=True)).exp_()
    scores /= scores.sum(-1, keepdim=True)
    return torch.bmm(scores.to(v.dtype), v.flatten(0, 1)).view(rows, heads, n, v.shape[-1])


def _activate(act: torch.nn.Module, x: Tensor, on_cpu: bool) -> Tensor:
    """act(x), written over x. On a CPU tanh-GELU goes through a sigmoid, which is faster (engram.model.gelu)."""
    if not isinstance(act, TANH_GELU):
        return act(x)
    return x.mul_(gelu.gate(x)) if on_cpu else F.gelu(x, approximate="tanh")
