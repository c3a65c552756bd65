"""What a transformers block computes, cut where causal tracing has to reach in, by the names of
engram.model.block_parts.

Each function does what the model's own forward does (tests compare them); only the order of work differs.
Shapes: R sequences, n tokens, T tokens of the prompt, d width, H heads, k width of a head, V vocabulary.
"""

import torch
from torch.nn import functional as F
from transformers import activations

from engram.model import block_parts, gelu
from engram.model.loading import LM

TANH_GELU = (activations.NewGELUActivation, activations.GELUTanh)  # one function under two names
_MLP_ROWS = 512  # rows of the MLP's inner layer that stay in a CPU's cache
_MLP_ROWS_GPU = 65536  # enough to keep a GPU busy; more would only take memory
_ATTENTION_ROWS = 32768  # sequences of one attention kernel on a GPU, whose grid ends at 65,535
_HEAD_ROWS = 512  # rows whose distributions over the vocabulary exist at a time


class Adapter:
    """The pieces of one model for texts of one length T. ValueError without a row in engram.model.block_parts, or for
    more than it reads.

    `device`: the type of device whose ways of computing are used, that of the model unless it is "meta". `what`: the
    text's name in an error.
    """

    def __init__(self, lm: LM, length: int, device: str | None = None, what: str = "prompt"):
        self.lm, self.length, self.layers = lm, length, lm.layers
        self.on_cpu = (device or lm.device.type) == "cpu"
        self.parts = block_parts.parts_of(lm)
        block_parts.check_length(lm, length, what)
        self.parallel, self.norms_first = (
            ask(lm.model.config) for ask in (self.parts.parallel, self.parts.norms_first)
        )
        self.plain = (
            self.norms_first and self.parts.norms_after is None
        )  # a result is added as it is, and so is the sum
        self.rotary = self.parts.rotary and self.parts.rotary(lm, length)
        self.mask = torch.full((length, length), -torch.inf, device=lm.device, dtype=lm.model.dtype).triu(1)
        self._blocks = [lm.module("block", layer) for layer in range(lm.layers)]
        self._attns = [lm.module("attn", layer) for layer in range(lm.layers)]
        self._mlps = [lm.module("block" if self.parts.mlp_in_block else "mlp", layer) for layer in range(lm.layers)]

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Token embeddings [.., d] of ids [..]: what the corruption acts on."""
        return self.lm.module("embed")(ids)

    def enter(self, x: torch.Tensor, begin: int = 0) -> torch.Tensor:
        """The input of block 0 from token embeddings [R, n, d] at the positions from `begin` on."""
        base = getattr(self.lm.model.base_model, "decoder", self.lm.model.base_model)
        into, learnt = (getattr(base, name, None) for name in ("project_in", "embed_positions"))
        positions = getattr(base, "wpe", learnt)
        x = x if into is None else into(x)
        begin += getattr(positions, "offset", 0)
        return x if positions is None else x + positions.weight[begin : begin + x.shape[1]]

    def heads(self, layer: int, x: torch.Tensor, begin: int | torch.Tensor) -> torch.Tensor:
        """q, k, v [3, R, H, n, k] of block inputs x [R, n, d] at the positions begin .. begin + n - 1, or at the
        positions that `begin` holds: [n], or [R, 1, n] where every row has its own.
        """
        normed = self.normed(layer, "attn", x)
        heads = self.parts.heads(self._attns[layer], normed).transpose(2, 3)
        if self.rotary is None:
            return heads
        cos, sin, turn = self.rotary[layer]
        places = slice(begin, begin + x.shape[1]) if isinstance(begin, int) else begin
        cos, sin = (table[places] for table in (cos, sin))
        return torch.cat((_rotated(heads[:2], cos, sin, turn), heads[2:]))

    def attention(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """The attention module's output [R, n, d] for the last n positions: q [R, H, n, k], k and v [R, H, T, k]."""
        return self.project(layer, self.mix(layer, q, k, v))

    def project(self, layer: int, mixed: torch.Tensor) -> torch.Tensor:
        """The attention module's output [.., d] from what its heads have read [.., H, k]."""
        return getattr(self._attns[layer], self.parts.out)(mixed.flatten(-2))

    def mix(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """What the heads read [R, n, H, k] at the last n positions: q [R, H, n, k], k and v [R, H, T, k]."""
        wide = v.dtype
        if self.parts.attention_float32:
            q, k = q.float(), k.float()
        scale = self.parts.scale(self._attns[layer])
        mask = self.mask[self.length - q.shape[2] :].to(q.dtype) if q.shape[2] > 1 else None
        cap = self.parts.cap(self._attns[layer])
        if self.on_cpu or cap is not None:
            return _attend(q * scale, k, v, mask, cap).transpose(1, 2)
        return _joined(
            [
                F.scaled_dot_product_attention(*part, attn_mask=mask, scale=scale).to(wide)
                for part in zip(*(x.split(_ATTENTION_ROWS) for x in (q, k, v.to(q.dtype))))
            ]
        ).transpose(1, 2)

    def mlp(self, layer: int, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """The MLP module's output [.., d] from the block's input x and x + the attention's output."""
        source = x if self.parallel else attended
        normed = self.normed(layer, "mlp", source)
        if self.parts.mlp is None:
            return self._mlps[layer](normed)
        first, act, last = self.mlp_pieces(layer)
        rows = normed.flatten(0, -2)
        pieces = rows.split(_MLP_ROWS if self.on_cpu else _MLP_ROWS_GPU)
        return _joined([last(_activate(act, first(piece), self.on_cpu)) for piece in pieces]).view(source.shape)

    def mlp_pieces(self, layer: int):
        """First projection, function and last projection of an MLP that consists of these; None if it has a gate."""
        module, names = self._mlps[layer], self.parts.mlp
        return names and (getattr(module, names[0]), getattr(module, self.parts.act), getattr(module, names[1]))

    def plain_mlp(self, layer: int, normed: torch.Tensor) -> torch.Tensor:
        """The MLP's output from its normed input, nothing overwritten: gradients pass."""
        if not self.parts.mlp_in_block:
            return self._mlps[layer](normed)
        first, act, last = self.mlp_pieces(layer)
        return last(act(first(normed)))

    def normed(self, layer: int, part: str, x: torch.Tensor) -> torch.Tensor:
        """What the part ("attn" or "mlp") of a block reads of the state x [.., d]."""
        return self.norm(layer, part)(x) if self.norms_first else x

    def norm(self, layer: int, part: str) -> torch.nn.Module:
        """The norm before "attn" or "mlp", or of the sum after it."""
        return getattr(self._blocks[layer], self.parts.attn_norm if part == "attn" else self.parts.mlp_norm)

    def norm_after(self, layer: int, part: str) -> torch.nn.Module | None:
        """The norm of what "attn" or "mlp" returns, where there is one."""
        return self.parts.norms_after and getattr(self._blocks[layer], self.parts.norms_after[part == "mlp"])

    def add(self, layer: int, part: str, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """The state [.., d] after the module "attn" or "mlp" has returned `output` in the state x; after "mlp" the
        block's.
        """
        if self.parts.norms_after is not None:
            output = self.norm_after(layer, part)(output)
        return x + output if self.norms_first else self.norm(layer, part)(x + output)

    def probability(self, x: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        """p(answer) [R] in float64 from the last block's output x [R, d], token ids [R]; no distribution is kept."""
        found = []
        for rows, ids in zip(x.split(_HEAD_ROWS), answers.split(_HEAD_ROWS)):
            logits = self.lm.logits(self.lm.final(rows))
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            found.append(wide.gather(1, ids[:, None])[:, 0].double() - wide.logsumexp(-1).double())
        return torch.cat(found).exp()


def _joined(parts):
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _rotated(x, cos, sin, turn):
    width = cos.shape[-1]
    rotating = x[..., :width]
    return torch.cat((rotating * cos + turn(rotating) * sin, x[..., width:]), -1)


def _attend(q, k, v, mask, cap=None):
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


def _activate(act, x, on_cpu):
    """act(x), overwriting x. On a CPU tanh-GELU goes through a sigmoid, which is faster."""
    if not isinstance(act, TANH_GELU):
        return act(x)
    if not on_cpu:
        return F.gelu(x, approximate="tanh")
    return x.mul_(gelu.gate(x))
