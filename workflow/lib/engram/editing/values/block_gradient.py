"""A block with frozen weights and its gradient written out: what autograd spends on bookkeeping exceeds small products.

Every piece returns its output and its pull-back, a function from the output's gradient to the input's; a piece without
a rule of its own goes through autograd. `Pulled` makes a node of autograd of what is composed of them. Optimised values
run through these blocks in engram.editing.values.moved_forward.

Shapes: B rows, n tokens of the suffix, P of the prefix, m reads, d width, D inner width, H heads, k width of a head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch.nn import functional as F

from engram.model import gelu
from engram.model.adapters import TANH_GELU, Adapter

Pull = Callable[[torch.Tensor], torch.Tensor]  # from the gradient of an output to that of the input
Part = Literal["attn", "mlp"]
Piece = Callable[[torch.Tensor], tuple[torch.Tensor, Pull]]  # from an input to the output and its pull-back


class Pulled(torch.autograd.Function):
    """A `Piece` as one node of autograd: `Pulled.apply(x, piece)` is its output, which can be differentiated once."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, piece: Piece) -> torch.Tensor:
        """The piece's output; its pull-back is kept for `backward`."""
        output, ctx.pull = piece(x)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        """The gradient of x from that of the output; the piece has none."""
        return ctx.pull(grad), None


def by_autograd(call: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, Pull]:
    """The output `call(x)`, and its pull-back as autograd finds it."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        output = call(leaf)
    return output.detach(), lambda grad: torch.autograd.grad(output, leaf, grad)[0]


def chain(x: torch.Tensor, *pieces: Piece) -> tuple[torch.Tensor, Pull]:
    """The output of `pieces`, one after the other, and its pull-back through all of them."""
    pulls: list[Pull] = []
    for piece in pieces:
        x, pull = piece(x)
        pulls.append(pull)

    def back(grad: torch.Tensor) -> torch.Tensor:
        for pull in reversed(pulls):
            grad = pull(grad)
        return grad

    return x, back


def norm(module: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, Pull]:
    """What a norm makes of x [.., d], and its pull-back: written out for a layer norm, by autograd for others."""
    if not isinstance(module, torch.nn.LayerNorm) or module.weight.device != x.device:
        return by_autograd(module, x)
    args = module.normalized_shape, module.weight, module.bias
    output, mean, rstd = torch.native_layer_norm(x, *args, module.eps)
    return output, lambda grad: torch.ops.aten.native_layer_norm_backward(
        grad, x, args[0], mean, rstd, *args[1:], [True, False, False]
    )[0]


def linear(module: Any, x: torch.Tensor) -> tuple[torch.Tensor, Pull]:
    """The projection of x [.., in] to [.., out], and its pull-back.

    Weights are [out, in] (Linear) or [in, out] (GPT-2's Conv1D), with or without a bias.
    """
    if module.weight.device != x.device:
        return by_autograd(module, x)
    weight = module.weight.T if isinstance(module, torch.nn.Linear) else module.weight
    rows, shape = x.reshape(-1, len(weight)), x.shape
    output = rows @ weight if module.bias is None else torch.addmm(module.bias, rows, weight)
    return output.view(*shape[:-1], -1), lambda grad: (grad.reshape(-1, weight.shape[1]) @ weight.T).view(shape)


def tanh_gelu(x: torch.Tensor) -> tuple[torch.Tensor, Pull]:
    """The GELU in its tanh form of x, of any shape, and its pull-back."""
    if x.device.type != "cpu":
        return F.gelu(x, approximate="tanh"), lambda grad: torch.ops.aten.gelu_backward(grad, x, approximate="tanh")
    gated = gelu.gate(x)
    return x * gated, lambda grad: gelu.slope(x, gated).mul_(grad)


def attend(
    heads: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    scale: float,
    cap: float | None = None,
) -> tuple[torch.Tensor, Pull]:
    """softmax(scale q kᵀ + mask) v [B, n, H·k] over a prefix and the n tokens of q, k, v = heads [3, B, H, n, k].

    keys, values [B, H, P + n, k]: those of the prefix in front, room for the new ones behind, which are put there in
    place: pull back before the next use of the same room. mask [B, H, n, P + n]. With a cap c, scores s become
    c tanh(s / c). The pull-back is from the gradient of the result to that of `heads`.
    """
    _, rows, count, n, width = heads.shape
    prefix = keys.shape[2] - n
    keys[:, :, prefix:], values[:, :, prefix:] = heads[1], heads[2]
    q, k, v = heads[0].to(keys.dtype).reshape(-1, n, width), keys.flatten(0, 1), values.flatten(0, 1)
    bent: torch.Tensor | None = None
    if cap is None:
        weights = torch.baddbmm(mask.flatten(0, 1), q, k.transpose(1, 2), alpha=scale).softmax(-1)
    else:
        bent = torch.bmm(q, k.transpose(1, 2)).mul_(scale / cap).tanh_()
        weights = torch.add(mask.flatten(0, 1), bent, alpha=cap).softmax(-1)
    mixed = torch.bmm(weights.to(v.dtype), v).view(rows, count, n, width).transpose(1, 2).flatten(2)

    def pull(grad: torch.Tensor) -> torch.Tensor:
        slopes = grad.new_empty(rows, n, 3, count, width).permute(2, 0, 3, 1, 4)
        grad = grad.view(rows, n, count, width).transpose(1, 2).reshape(-1, n, width)
        slopes[2] = torch.bmm(weights[..., prefix:].transpose(1, 2).to(grad.dtype), grad).view(slopes.shape[1:])
        slope = torch.bmm(grad, v.transpose(1, 2)).to(weights.dtype)
        slope = torch._softmax_backward_data(slope, weights, -1, weights.dtype).mul_(scale)
        slope = slope if bent is None else slope.mul_(1 - bent.square())
        slopes[0] = torch.bmm(slope, k).view(slopes.shape[1:])
        slopes[1] = torch.bmm(slope[..., prefix:].transpose(1, 2), q).view(slopes.shape[1:])
        return slopes

    return mixed, pull


@dataclass(frozen=True)
class Block:
    """One block of a model with its pull-back, through the names of modules that its adapter knows."""

    adapter: Adapter
    layer: int
    attn: Any  # its attention module

    def heads(self, x: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, Pull]:
        """The q, k, v [3, B, H, n, k] of block inputs x [B, n, d] at the positions `places` [B, 1, n]."""
        if not hasattr(self.attn, "c_attn"):
            return by_autograd(lambda leaf: self.adapter.heads(self.layer, leaf, places), x)
        shape = (3, self.attn.num_heads, self.attn.head_dim)  # GPT-2: one projection, no rotation
        raw, pull = chain(
            x, lambda x: norm(self.adapter.norm(self.layer, "attn"), x), lambda x: linear(self.attn.c_attn, x)
        )
        return raw.unflatten(-1, shape).permute(2, 0, 3, 1, 4), lambda grad: pull(
            grad.permute(1, 3, 0, 2, 4).flatten(2)
        )

    def inner(self, x: torch.Tensor) -> tuple[torch.Tensor, Pull]:
        """What the MLP and the norms before and behind it make of x [.., d]."""
        before: list[Piece] = (
            [lambda x: norm(self.adapter.norm(self.layer, "mlp"), x)] if self.adapter.norms_first else []
        )
        pieces = self.adapter.mlp_pieces(self.layer)
        if pieces is None or not isinstance(pieces[1], TANH_GELU):
            call = partial(self.adapter.plain_mlp, self.layer)
            return chain(x, *before, lambda x: by_autograd(call, x), *self._behind("mlp"))
        first, _, last = pieces
        return chain(x, *before, lambda x: linear(first, x), tanh_gelu, lambda x: linear(last, x), *self._behind("mlp"))

    def _behind(self, part: Part) -> list[Piece]:
        """The norm of what "attn" or "mlp" returns, as a piece, if there is one."""
        module = self.adapter.norm_after(self.layer, part)
        return [] if module is None else [lambda x: norm(module, x)]

    def _summed(self, part: Part, x: torch.Tensor) -> tuple[torch.Tensor, Pull]:
        """What goes on from x, the sum after "attn" or "mlp", which some architectures norm."""
        return (x, _same) if self.adapter.norms_first else norm(self.adapter.norm(self.layer, part), x)

    def output(
        self,
        x: torch.Tensor,
        room: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor,
        places: torch.Tensor,
        reads: torch.Tensor | None = None,
        fixed: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, Pull]:
        """The block's output [B, n, d] from its input x, or [B, m, d] at the tokens `reads` [B, m]; and its pull-back.

        `room` are the keys and values, and `mask` the mask, of `attend`; `places` [B, 1, n] are the tokens' positions.
        `fixed`: q, k, v [3, B, H, n - 1, k] of all tokens but the first, if only that one moves.
        """
        moving = x if fixed is None else x[:, :1]
        heads, pull_heads = self.heads(moving, places[..., : moving.shape[1]])
        heads = heads if fixed is None else torch.cat((heads, fixed), -2)
        parts = self.adapter.parts
        mixed, pull_mixed = attend(heads, room[0], room[1], mask, parts.scale(self.attn), parts.cap(self.attn))
        kept, spread = (x, _same) if reads is None else at(x, reads)
        mixed, spread_mixed = (mixed, _same) if reads is None else at(mixed, reads)
        out, pull_out = chain(mixed, lambda x: linear(getattr(self.attn, parts.out), x), *self._behind("attn"))
        (attended, pull_attended), parallel = self._summed("attn", kept + out), self.adapter.parallel
        inner, pull_inner = self.inner(kept if parallel else attended)
        result, pull_result = self._summed("mlp", attended + inner)

        def pull(grad: torch.Tensor) -> torch.Tensor:
            grad = pull_result(grad)
            straight = pull_attended(grad + pull_inner(grad))
            back = pull_mixed(spread_mixed(pull_out(grad if parallel else straight)))
            straight = spread(straight)
            straight[:, : moving.shape[1]] += pull_heads(back[..., : moving.shape[1], :])
            return straight

        return result, pull


def _same(grad: torch.Tensor) -> torch.Tensor:
    """The pull-back of what does nothing."""
    return grad


def at(x: torch.Tensor, reads: torch.Tensor) -> tuple[torch.Tensor, Pull]:
    """The states [B, m, d] of x [B, n, d] at the tokens `reads` [B, m], and their pull-back."""
    flat, shape = (reads + torch.arange(len(reads), device=reads.device)[:, None] * x.shape[1]).flatten(), x.shape

    def pull(grad: torch.Tensor) -> torch.Tensor:
        return grad.new_zeros(shape).flatten(0, 1).index_add_(0, flat, grad.flatten(0, 1)).view(shape)

    return x.flatten(0, 1).index_select(0, flat).unflatten(0, reads.shape), pull
