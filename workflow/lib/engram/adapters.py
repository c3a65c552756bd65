"""What a transformers block computes, cut where causal tracing has to reach in: one row of names per architecture.

Each function does what the model's own forward does (tests compare them); only the order of work differs.
Shapes: R sequences, n tokens, T tokens of the prompt, d width, H heads, k width of a head, V vocabulary.
"""

from dataclasses import dataclass
from typing import Callable

import torch
from torch.nn import functional as F
from transformers import activations

from engram import gelu
from engram.models import LM

TANH_GELU = (activations.NewGELUActivation, activations.GELUTanh)  # one function under two names
_MLP_ROWS = 512  # rows of the MLP's inner layer that stay in a CPU's cache
_MLP_ROWS_GPU = 65536  # enough to keep a GPU busy; more would only take memory
_ATTENTION_ROWS = 32768  # sequences of one attention kernel on a GPU, whose grid ends at 65,535
_HEAD_ROWS = 512  # rows whose distributions over the vocabulary exist at a time


@dataclass(frozen=True)
class Parts:
    """Names inside one block, and how its attention makes queries, keys and values."""

    attn_norm: str
    mlp_norm: str
    out: str  # the attention's last projection
    mlp: tuple[str, str] | None  # first and last projection of act(first(x)); None: call the module
    heads: Callable  # (attention module, x [R, n, d]) -> q, k, v [3, R, n, H, k] before any rotation
    rotary: Callable | None = None  # (LM, T) -> cos, sin [T, r] and the function that turns the r rotated dimensions
    parallel: Callable = lambda config: False  # does the MLP read the block's input instead of the attention's result?
    scale: Callable = lambda attn: attn.scaling  # (attention module) -> factor on q·k
    attention_float32: bool = False  # attention weights in float32 whatever the dtype of the model


def _heads_gpt2(attn, x):
    return attn.c_attn(x).unflatten(-1, (3, attn.num_heads, attn.head_dim)).movedim(-3, 0)


def _heads_gptj(attn, x):
    shape = (attn.num_attention_heads, attn.head_dim)
    return torch.stack([project(x).unflatten(-1, shape) for project in (attn.q_proj, attn.k_proj, attn.v_proj)])


def _heads_neox(attn, x):
    return attn.query_key_value(x).unflatten(-1, (-1, 3, attn.head_size)).movedim(-2, 0)


def _heads_llama(attn, x):
    q, k, v = (project(x).unflatten(-1, (-1, attn.head_dim)) for project in (attn.q_proj, attn.k_proj, attn.v_proj))
    shared = attn.num_key_value_groups
    return torch.stack((q, k.repeat_interleave(shared, -2), v.repeat_interleave(shared, -2)))


def _turn_halves(x):
    first, second = x.chunk(2, -1)
    return torch.cat((-second, first), -1)


def _turn_pairs(x):
    return torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)


def _rotary_gptj(lm, length):
    table = lm.module("attn", 0).embed_positions[:length].to(lm.device, lm.model.dtype)
    sin, cos = table.repeat_interleave(2, -1).chunk(2, -1)
    return cos, sin, _turn_pairs


def _rotary_halves(lm, length):
    positions = torch.arange(length, device=lm.device)[None]
    cos, sin = lm.model.base_model.rotary_emb(lm.module("embed").weight, positions)
    return cos[0], sin[0], _turn_halves


PARTS = {
    "gpt2": Parts("ln_1", "ln_2", "c_proj", ("c_fc", "c_proj"), _heads_gpt2),
    "gptj": Parts("ln_1", "ln_1", "out_proj", ("fc_in", "fc_out"), _heads_gptj, _rotary_gptj, lambda config: True,
                  lambda attn: 1 / attn.scale_attn, attention_float32=True),
    "gpt_neox": Parts("input_layernorm", "post_attention_layernorm", "dense", ("dense_h_to_4h", "dense_4h_to_h"),
                      _heads_neox, _rotary_halves, lambda config: config.use_parallel_residual),
    "llama": Parts("input_layernorm", "post_attention_layernorm", "o_proj", None, _heads_llama, _rotary_halves),
}


class Adapter:
    """The pieces of one model for prompts of one length T. ValueError for an architecture without a row in PARTS.

    `device`: the type of device whose ways of computing are used, that of the model unless it is "meta".
    """

    def __init__(self, lm: LM, length: int, device: str | None = None):
        config = lm.model.config
        if config.model_type not in PARTS:
            raise ValueError(f"model {lm.name}: no row for model_type {config.model_type!r} in engram.adapters.PARTS; "
                             f"known are {sorted(PARTS)}")
        limit = getattr(config, "max_position_embeddings", length)
        if length > limit:
            raise ValueError(f"model {lm.name}: a prompt of {length} tokens, but it has {limit} positions")
        self.lm, self.length, self.layers = lm, length, lm.layers
        self.on_cpu = (device or lm.device.type) == "cpu"
        self.parts = PARTS[config.model_type]
        self.parallel = self.parts.parallel(config)
        self.rotary = self.parts.rotary and self.parts.rotary(lm, length)
        self.mask = torch.full((length, length), -torch.inf, device=lm.device, dtype=lm.model.dtype).triu(1)
        self._blocks = [lm.module("block", layer) for layer in range(lm.layers)]
        self._attns = [lm.module("attn", layer) for layer in range(lm.layers)]
        self._mlps = [lm.module("mlp", layer) for layer in range(lm.layers)]

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Token embeddings [.., d] of ids [..]: what the corruption acts on."""
        return self.lm.module("embed")(ids)

    def enter(self, x: torch.Tensor) -> torch.Tensor:
        """The input of block 0 from token embeddings [R, T, d]."""
        positions = getattr(self.lm.model.base_model, "wpe", None)
        return x if positions is None else x + positions.weight[: self.length]

    def heads(self, layer: int, x: torch.Tensor, begin: int | torch.Tensor) -> torch.Tensor:
        """q, k, v [3, R, H, n, k] of block inputs x [R, n, d] at the positions begin .. begin + n - 1, or at the positions
        that `begin` holds: [n], or [R, 1, n] where every row has its own."""
        normed = getattr(self._blocks[layer], self.parts.attn_norm)(x)
        heads = self.parts.heads(self._attns[layer], normed).transpose(2, 3)
        if self.rotary is None:
            return heads
        cos, sin, turn = self.rotary
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
        if self.on_cpu:
            return _attend(q * scale, k, v, mask).transpose(1, 2)
        return _joined([F.scaled_dot_product_attention(*part, attn_mask=mask, scale=scale).to(wide)
                        for part in zip(*(x.split(_ATTENTION_ROWS) for x in (q, k, v.to(q.dtype))))]).transpose(1, 2)

    def mlp(self, layer: int, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """The MLP module's output [.., d] from the block's input x and x + the attention's output."""
        source = x if self.parallel else attended
        normed = getattr(self._blocks[layer], self.parts.mlp_norm)(source)
        module = self._mlps[layer]
        if self.parts.mlp is None:
            return module(normed)
        first, last = (getattr(module, name) for name in self.parts.mlp)
        rows = normed.flatten(0, -2)
        parts = rows.split(_MLP_ROWS if self.on_cpu else _MLP_ROWS_GPU)
        return _joined([last(_activate(module.act, first(part), self.on_cpu)) for part in parts]).view(source.shape)

    def probability(self, x: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        """p(answer) [R] in float64 from the last block's output x [R, d], token ids [R]; no distribution is kept."""
        found = []
        for rows, ids in zip(x.split(_HEAD_ROWS), answers.split(_HEAD_ROWS)):
            logits = self.lm.model.get_output_embeddings()(self.lm.module("norm")(rows))
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            found.append(wide.gather(1, ids[:, None])[:, 0].double() - wide.logsumexp(-1).double())
        return torch.cat(found).exp()


def _joined(parts):
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _rotated(x, cos, sin, turn):
    width = cos.shape[-1]
    rotating = x[..., :width]
    return torch.cat((rotating * cos + turn(rotating) * sin, x[..., width:]), -1)


def _attend(q, k, v, mask):
    """softmax(q kᵀ + mask) v; the softmax spelled out, because torch's is slow over a handful of keys on a CPU."""
    rows, heads, n, width = q.shape
    scores = torch.bmm(q.reshape(-1, n, width), k.flatten(0, 1).transpose(1, 2))
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
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
