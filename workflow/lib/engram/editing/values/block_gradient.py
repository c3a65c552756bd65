"""A block with frozen weights and its gradient written out: what autograd spends on bookkeeping exceeds small products.

Every piece returns its output and its pull-back, a function from the output's gradient to the input's; a piece without
a rule of its own goes through autograd. `Pulled` makes a node of autograd of what is composed of them.

Shapes: B rows, n tokens of the suffix, P of the prefix, m reads, d width, D inner width, H heads, k width of a head.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch.nn import functional as F

from engram.model import gelu
from engram.model.adapters import TANH_GELU, Adapter


class Pulled(torch.autograd.Function):
    """`call(x)`, which returns an output and its pull-back, as one node; differentiable once."""

    @staticmethod
    def forward(ctx, x, call):
        output, ctx.pull = call(x)
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return ctx.pull(grad), None


def by_autograd(call, x: torch.Tensor):
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        output = call(leaf)
    return output.detach(), lambda grad: torch.autograd.grad(output, leaf, grad)[0]


def chain(x: torch.Tensor, *pieces):
    """One piece after the other."""
    pulls = []
    for piece in pieces:
        x, pull = piece(x)
        pulls.append(pull)

    def back(grad):
        for pull in reversed(pulls):
            grad = pull(grad)
        return grad

    return x, back


def norm(module, x: torch.Tensor):
    if not isinstance(module, torch.nn.LayerNorm) or module.weight.device != x.device:
        return by_autograd(module, x)
    args = module.normalized_shape, module.weight, module.bias
    output, mean, rstd = torch.native_layer_norm(x, *args, module.eps)
    return output, lambda grad: torch.ops.aten.native_layer_norm_backward(
        grad, x, args[0], mean, rstd, *args[1:], [True, False, False]
    )[0]


def linear(module, x: torch.Tensor):
    """A projection with weights [out, in] (Linear) or [in, out] (GPT-2's Conv1D), with or without a bias."""
    if module.weight.device != x.device:
        return by_autograd(module, x)
    weight = module.weight.T if isinstance(module, torch.nn.Linear) else module.weight
    rows, shape = x.reshape(-1, len(weight)), x.shape
    output = rows @ weight if module.bias is None else torch.addmm(module.bias, rows, weight)
    return output.view(*shape[:-1], -1), lambda grad: (grad.reshape(-1, weight.shape[1]) @ weight.T).view(shape)


def tanh_gelu(x: torch.Tensor):
    if x.device.type != "cpu":
        return F.gelu(x, approximate="tanh"), lambda grad: torch.ops.aten.gelu_backward(grad, x, approximate="tanh")
    gated = gelu.gate(x)
    return x * gated, lambda grad: gelu.slope(x, gated).mul_(grad)


def attend(heads: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, scale: float, cap=None):
    """softmax(scale q kᵀ + mask) v [B, n, H·k] over a prefix and the n tokens of q, k, v = heads [3, B, H, n, k].

    keys, values [B, H, P + n, k]: those of the prefix in front, room for the new ones behind, which are put there in
    place: pull back before the next use of the same room. mask [B, H, n, P + n]. With a cap c scores s are c tanh(s /
    c).
    """
    _, rows, count, n, width = heads.shape
    prefix = keys.shape[2] - n
    keys[:, :, prefix:], values[:, :, prefix:] = heads[1], heads[2]
    q, k, v = heads[0].to(keys.dtype).reshape(-1, n, width), keys.flatten(0, 1), values.flatten(0, 1)
    bent = None if cap is None else torch.bmm(q, k.transpose(1, 2)).mul_(scale / cap).tanh_()
    if bent is None:
        weights = torch.baddbmm(mask.flatten(0, 1), q, k.transpose(1, 2), alpha=scale).softmax(-1)
    else:
        weights = torch.add(mask.flatten(0, 1), bent, alpha=cap).softmax(-1)
    mixed = torch.bmm(weights.to(v.dtype), v).view(rows, count, n, width).transpose(1, 2).flatten(2)

    def pull(grad):
        found = grad.new_empty(rows, n, 3, count, width).permute(2, 0, 3, 1, 4)
        grad = grad.view(rows, n, count, width).transpose(1, 2).reshape(-1, n, width)
        found[2] = torch.bmm(weights[..., prefix:].transpose(1, 2).to(grad.dtype), grad).view(found.shape[1:])
        slope = torch.bmm(grad, v.transpose(1, 2)).to(weights.dtype)
        slope = torch._softmax_backward_data(slope, weights, -1, weights.dtype).mul_(scale)
        slope = slope if bent is None else slope.mul_(1 - bent.square())
        found[0] = torch.bmm(slope, k).view(found.shape[1:])
        found[1] = torch.bmm(slope[..., prefix:].transpose(1, 2), q).view(found.shape[1:])
        return found

    return mixed, pull


@dataclass(frozen=True)
class Block:
    """One block of a model, through the names that its adapter knows."""

    adapter: Adapter
    layer: int
    attn: torch.nn.Module

    def heads(self, x: torch.Tensor, places: torch.Tensor):
        """q, k, v [3, B, H, n, k] of block inputs x [B, n, d] at the positions `places` [B, 1, n]."""
        if not hasattr(self.attn, "c_attn"):
            return by_autograd(lambda leaf: self.adapter.heads(self.layer, leaf, places), x)
        shape = (3, self.attn.num_heads, self.attn.head_dim)  # GPT-2: one projection, no rotation
        raw, pull = chain(
            x, lambda x: norm(self.adapter.norm(self.layer, "attn"), x), lambda x: linear(self.attn.c_attn, x)
        )
        return raw.unflatten(-1, shape).permute(2, 0, 3, 1, 4), lambda grad: pull(
            grad.permute(1, 3, 0, 2, 4).flatten(2)
        )

    def inner(self, x: torch.Tensor):
        """What the MLP and the norms before and behind it make of x [.., d]."""
        before = [lambda x: norm(self.adapter.norm(self.layer, "mlp"), x)] if self.adapter.norms_first else []
        pieces = self.adapter.mlp_pieces(self.layer)
        if pieces is None or not isinstance(pieces[1], TANH_GELU):
            call = partial(self.adapter.plain_mlp, self.layer)
            return chain(x, *before, lambda x: by_autograd(call, x), *self._behind("mlp"))
        first, _, last = pieces
        return chain(x, *before, lambda x: linear(first, x), tanh_gelu, lambda x: linear(last, x), *self._behind("mlp"))

    def _behind(self, part: str) -> list:
        """The norm of what "attn" or "mlp" returns, as a piece, if there is one."""
        module = self.adapter.norm_after(self.layer, part)
        return [] if module is None else [lambda x: norm(module, x)]

    def _summed(self, part: str, x: torch.Tensor):
        """The sum after "attn" or "mlp", which some architectures norm."""
        return (x, lambda grad: grad) if self.adapter.norms_first else norm(self.adapter.norm(self.layer, part), x)

    def output(self, x: torch.Tensor, room, mask, places, reads=None, fixed=None):
        """The block's output [B, n, d] from its input, or [B, m, d] at the tokens `reads` [B, m]; and its pull-back.

        room, mask: see `attend`. fixed: q, k, v [3, B, H, n - 1, k] of all tokens but the first, if only that one
        moves.
        """
        moving = x if fixed is None else x[:, :1]
        heads, pull_heads = self.heads(moving, places[..., : moving.shape[1]])
        heads = heads if fixed is None else torch.cat((heads, fixed), -2)
        parts = self.adapter.parts
        mixed, pull_mixed = attend(heads, *room, mask, parts.scale(self.attn), parts.cap(self.attn))
        kept, spread = x, lambda grad: grad
        spread_mixed = spread
        if reads is not None:
            kept, spread = at(x, reads)
            mixed, spread_mixed = at(mixed, reads)
        out, pull_out = chain(mixed, lambda x: linear(getattr(self.attn, parts.out), x), *self._behind("attn"))
        (attended, pull_attended), parallel = self._summed("attn", kept + out), self.adapter.parallel
        inner, pull_inner = self.inner(kept if parallel else attended)
        result, pull_result = self._summed("mlp", attended + inner)

        def pull(grad):
            grad = pull_result(grad)
            straight = pull_attended(grad + pull_inner(grad))
            back = pull_mixed(spread_mixed(pull_out(grad if parallel else straight)))
            straight = spread(straight)
            straight[:, : moving.shape[1]] += pull_heads(back[..., : moving.shape[1], :])
            return straight

        return result, pull


def at(x: torch.Tensor, reads: torch.Tensor):
    """X [B, n, d] at the tokens reads [B, m]: [B, m, d]."""
    flat, shape = (reads + torch.arange(len(reads), device=reads.device)[:, None] * x.shape[1]).flatten(), x.shape

    def pull(grad):
        return grad.new_zeros(shape).flatten(0, 1).index_add_(0, flat, grad.flatten(0, 1)).view(shape)

    return x.flatten(0, 1).index_select(0, flat).unflatten(0, reads.shape), pull
