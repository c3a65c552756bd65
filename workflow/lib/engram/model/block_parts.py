"""What is inside a block of each architecture: one row of names per `model_type`, for code that takes blocks apart.

The names of the block itself, its attention and its MLP are in engram.model.architectures; a new architecture needs a
row in both tables. engram.model.adapters computes with these parts.
Shapes: R sequences, n tokens, T tokens of a text, d width, H heads, k width of a head, r dimensions that are rotated.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from engram.model.loading import LM

Attention: TypeAlias = Any  # a module of transformers whose attributes are those of its architecture
Rotation = tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]  # cos, sin [T, r], quarter turn


@dataclass(frozen=True)
class Parts:
    """Names inside one block of an architecture, and how its attention makes queries, keys and values.

    By default a block is x + attention(norm(x)), then that plus MLP(norm(it)), scores are scaled as `scaling` says.
    """

    attn_norm: str
    mlp_norm: str
    out: str  # the attention's last projection
    mlp: tuple[str, str] | None  # first and last projection of last(act(first(x))); None: call the module
    heads: Callable[[Attention, Tensor], Tensor]  # x [R, n, d] -> q, k, v [3, R, n, H, k], not yet rotated
    rotary: Callable[[LM, int], list[Rotation]] | None = None  # for each layer how T positions turn queries and keys
    parallel: Callable[[PreTrainedConfig], bool] = lambda config: False  # does the MLP read the block's own input?
    scale: Callable[[Attention], float] = lambda attn: attn.scaling  # factor on q·k
    attention_float32: bool = False  # attention weights in float32 whatever the dtype of the model
    act: str = "act"  # the function between the two projections of `mlp`
    mlp_in_block: bool = False  # those projections and `act` belong to the block, which has no module for its MLP
    gated: bool = False  # the MLP's activations are products with a gate, of either sign
    norms_after: tuple[str, str] | None = None  # norms of the attention's and the MLP's result, before it is added
    norms_first: Callable[[PreTrainedConfig], bool] = lambda config: True  # False: the two norms are of the sums
    cap: Callable[[Attention], float | None] = lambda attn: None  # c, where scores s become c tanh(s / c)


def _heads_gpt2(attn: Attention, x: Tensor) -> Tensor:
    return attn.c_attn(x).unflatten(-1, (3, attn.num_heads, attn.head_dim)).movedim(-3, 0)


def _heads_neox(attn: Attention, x: Tensor) -> Tensor:
    return attn.query_key_value(x).unflatten(-1, (-1, 3, attn.head_size)).movedim(-2, 0)


def _heads_separate(attn: Attention, x: Tensor) -> Tensor:
    """One projection each for queries, keys and values, and as many heads of each (GPT-J, OPT)."""
    return torch.stack(
        [project(x).unflatten(-1, (-1, attn.head_dim)) for project in (attn.q_proj, attn.k_proj, attn.v_proj)]
    )


def _heads_llama(attn: Attention, x: Tensor, *norms: torch.nn.Module) -> Tensor:
    return _heads_grouped(attn, attn.q_proj(x), attn.k_proj(x), attn.v_proj(x), *norms)


def _heads_phi(attn: Attention, x: Tensor) -> Tensor:
    return _heads_llama(attn, x, *((attn.q_layernorm, attn.k_layernorm) if attn.qk_layernorm else ()))


def _heads_normed(attn: Attention, x: Tensor) -> Tensor:
    return _heads_llama(attn, x, attn.q_norm, attn.k_norm)


def _heads_phi3(attn: Attention, x: Tensor) -> Tensor:
    projected, width = attn.qkv_proj(x), attn.num_key_value_heads * attn.head_dim
    return _heads_grouped(attn, *projected.split((projected.shape[-1] - 2 * width, width, width), -1))


def _heads_grouped(attn: Attention, q: Tensor, k: Tensor, v: Tensor, *norms: torch.nn.Module) -> Tensor:
    """q, k, v [3, R, n, H, k] of projections [R, n, width]; keys and values of fewer heads serve several queries.

    `norms`: those of queries and of keys, head by head, where the architecture has them.
    """
    q, k, v = (x.unflatten(-1, (-1, attn.head_dim)) for x in (q, k, v))
    if norms:
        q, k = (norm(x) for norm, x in zip(norms, (q, k)))
    groups = attn.num_key_value_groups
    return torch.stack((q, k.repeat_interleave(groups, -2), v.repeat_interleave(groups, -2)))


def _turn_halves(x: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat((-second, first), -1)


def _turn_pairs(x: Tensor) -> Tensor:
    return torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)


def _rotary_gptj(lm: LM, length: int) -> list[Rotation]:
    attn: Attention = lm.module("attn", 0)
    table = attn.embed_positions[:length].to(lm.device, lm.model.dtype)
    sin, cos = table.repeat_interleave(2, -1).chunk(2, -1)
    return [(cos, sin, _turn_pairs)] * lm.layers


def _rotary_halves(lm: LM, length: int) -> list[Rotation]:
    return [_rotation(lm, length)] * lm.layers


def _rotary_by_type(lm: LM, length: int) -> list[Rotation]:
    types = lm.model.config.layer_types
    rotations = {kind: _rotation(lm, length, kind) for kind in set(types)}
    return [rotations[kind] for kind in types]


def _rotation(lm: LM, length: int, *layer_type: str) -> Rotation:
    positions, table = torch.arange(length, device=lm.device)[None], lm.module("embed").get_parameter("weight")
    cos, sin = lm.model.base_model.get_submodule("rotary_emb")(table, positions, *layer_type)
    return cos[0], sin[0], _turn_halves


_LLAMA = Parts("input_layernorm", "post_attention_layernorm", "o_proj", None, _heads_llama, _rotary_halves, gated=True)
_GEMMA = replace(
    _LLAMA, mlp_norm="pre_feedforward_layernorm", norms_after=("post_attention_layernorm", "post_feedforward_layernorm")
)
_NEOX = Parts(
    "input_layernorm",
    "post_attention_layernorm",
    "dense",
    ("dense_h_to_4h", "dense_4h_to_h"),
    _heads_neox,
    _rotary_halves,
    lambda config: config.use_parallel_residual,
)
PARTS = {
    "gpt2": Parts("ln_1", "ln_2", "c_proj", ("c_fc", "c_proj"), _heads_gpt2),
    "gptj": Parts(
        "ln_1",
        "ln_1",
        "out_proj",
        ("fc_in", "fc_out"),
        _heads_separate,
        _rotary_gptj,
        lambda config: True,
        lambda attn: 1 / attn.scale_attn,
        attention_float32=True,
    ),
    "gpt_neox": _NEOX,
    **dict.fromkeys(("llama", "mistral", "qwen2", "gemma"), _LLAMA),
    "qwen3": replace(_LLAMA, heads=_heads_normed),
    "gemma2": replace(_GEMMA, cap=lambda attn: attn.attn_logit_softcapping),
    "gemma3_text": replace(_GEMMA, heads=_heads_normed, rotary=_rotary_by_type),
    "phi": replace(
        _NEOX,
        mlp_norm="input_layernorm",
        mlp=("fc1", "fc2"),
        heads=_heads_phi,
        parallel=lambda config: True,
        act="activation_fn",
    ),
    "phi3": replace(_LLAMA, heads=_heads_phi3),
    "opt": Parts(
        "self_attn_layer_norm",
        "final_layer_norm",
        "out_proj",
        ("fc1", "fc2"),
        _heads_separate,
        act="activation_fn",
        mlp_in_block=True,
        norms_first=lambda config: config.do_layer_norm_before,
    ),
}


def parts_of(lm: LM) -> Parts:
    """The row of PARTS for a model's architecture; ValueError says what to add if there is none."""
    kind = lm.model.config.model_type
    if kind not in PARTS:
        raise ValueError(
            f"model {lm.name}: no row for model_type {kind!r} in engram.model.block_parts.PARTS; known are "
            f"{sorted(PARTS)}. Add one with the fields {', '.join(field.name for field in fields(Parts))}"
        )
    return PARTS[kind]


def has_norm_after_mlp(lm: LM) -> bool:
    """Whether a norm stands between the MLP's last projection and the block's output.

    If so, a vector added to the MLP's output is not the same as that vector added to the block's output.
    """
    parts = parts_of(lm)
    return parts.norms_after is not None or not parts.norms_first(lm.model.config)


def longest_text(lm: LM) -> int | None:
    """The longest text, in tokens, for which engram.model.adapters computes what the model computes; None: no limit.

    It ends with the positions, with what a sliding attention reaches, or where a model changes its rotations.
    """
    config = lm.model.config
    types = getattr(config, "layer_types", None) or ["sliding_attention"]
    window = getattr(config, "sliding_window", None) if "sliding_attention" in types else None
    rope = getattr(config, "rope_parameters", None) or {}
    unchanged = rope.get("original_max_position_embeddings") if rope.get("rope_type") == "longrope" else None
    limits = (getattr(config, "max_position_embeddings", None), window, unchanged)
    return min((limit for limit in limits if limit), default=None)


def check_length(lm: LM, length: int, what: str) -> None:
    """ValueError if a text of `length` tokens, called `what` in the error, is longer than `longest_text`."""
    limit, positions = longest_text(lm), getattr(lm.model.config, "max_position_embeddings", None)
    if limit is None or length <= limit:
        return
    if limit == positions:
        raise ValueError(f"model {lm.name}: a {what} of {length} tokens, but it has {limit} positions")
    raise ValueError(
        f"model {lm.name}: a {what} of {length} tokens, but some of its layers look back {limit} tokens at most, or "
        f"turn positions differently from there on: right is a shorter {what}"
    )
