"""What is inside one block of every architecture: one row of names per model_type, for code that takes blocks apart.

Shapes: R sequences, n tokens, T tokens of a text, d width, H heads, k width of a head.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch


@dataclass(frozen=True)
class Parts:
    """Names inside one block, and how its attention makes queries, keys and values."""

    attn_norm: str
    mlp_norm: str
    out: str  # the attention's last projection
    mlp: tuple[str, str] | None  # first and last projection of last(act(first(x))); None: call the module
    heads: Callable  # (attention module, x [R, n, d]) -> q, k, v [3, R, n, H, k] before any rotation
    rotary: Callable | None = None  # (LM, T) -> for each layer cos, sin [T, r] and the function that turns r dimensions
    parallel: Callable = lambda config: False  # does the MLP read the block's input instead of the attention's result?
    scale: Callable = lambda attn: attn.scaling  # (attention module) -> factor on q·k
    attention_float32: bool = False  # attention weights in float32 whatever the dtype of the model
    act: str = "act"  # the function between the two projections of `mlp`
    mlp_in_block: bool = (
        False  # those projections and that function belong to the block, which has no module for its MLP
    )
    gated: bool = False  # the MLP's activations are products with a gate, of either sign
    norms_after: tuple[str, str] | None = None  # norms of the attention's and the MLP's result, before it is added
    norms_first: Callable = lambda config: True  # False: attn_norm and mlp_norm are of the sums instead
    cap: Callable = lambda attn: None  # (attention module) -> c, if scores s become c tanh(s / c)


def _heads_gpt2(attn, x):
    return attn.c_attn(x).unflatten(-1, (3, attn.num_heads, attn.head_dim)).movedim(-3, 0)


def _heads_gptj(attn, x):
    shape = (attn.num_attention_heads, attn.head_dim)
    return torch.stack([project(x).unflatten(-1, shape) for project in (attn.q_proj, attn.k_proj, attn.v_proj)])


def _heads_neox(attn, x):
    return attn.query_key_value(x).unflatten(-1, (-1, 3, attn.head_size)).movedim(-2, 0)


def _heads_llama(attn, x):
    return _shared(attn, *(project(x) for project in (attn.q_proj, attn.k_proj, attn.v_proj)))


def _heads_phi(attn, x):
    norms = (attn.q_layernorm, attn.k_layernorm) if attn.qk_layernorm else ()
    return _shared(attn, attn.q_proj(x), attn.k_proj(x), attn.v_proj(x), *norms)


def _heads_normed(attn, x):
    return _shared(attn, attn.q_proj(x), attn.k_proj(x), attn.v_proj(x), attn.q_norm, attn.k_norm)


def _heads_phi3(attn, x):
    keys = attn.num_key_value_heads * attn.head_dim
    found = attn.qkv_proj(x)
    return _shared(attn, *found.split((found.shape[-1] - 2 * keys, keys, keys), -1))


def _heads_opt(attn, x):
    return torch.stack(
        [project(x).unflatten(-1, (-1, attn.head_dim)) for project in (attn.q_proj, attn.k_proj, attn.v_proj)]
    )


def _shared(attn, q, k, v, q_norm=None, k_norm=None):
    """Keys and values of fewer heads, [R, n, width], for all heads that read them."""
    q, k, v = (x.unflatten(-1, (-1, attn.head_dim)) for x in (q, k, v))
    if q_norm is not None:
        q, k = q_norm(q), k_norm(k)
    groups = attn.num_key_value_groups
    return torch.stack((q, k.repeat_interleave(groups, -2), v.repeat_interleave(groups, -2)))


def _turn_halves(x):
    first, second = x.chunk(2, -1)
    return torch.cat((-second, first), -1)


def _turn_pairs(x):
    return torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)


def _rotary_gptj(lm, length):
    table = lm.module("attn", 0).embed_positions[:length].to(lm.device, lm.model.dtype)
    sin, cos = table.repeat_interleave(2, -1).chunk(2, -1)
    return [(cos, sin, _turn_pairs)] * lm.layers


def _rotary_halves(lm, length):
    return [_halves(lm, length)] * lm.layers


def _rotary_by_type(lm, length):
    kinds = lm.model.config.layer_types
    tables = {kind: _halves(lm, length, kind) for kind in set(kinds)}
    return [tables[kind] for kind in kinds]


def _halves(lm, length, *kind):
    positions = torch.arange(length, device=lm.device)[None]
    cos, sin = lm.model.base_model.rotary_emb(lm.module("embed").weight, positions, *kind)
    return cos[0], sin[0], _turn_halves


_LLAMA = Parts("input_layernorm", "post_attention_layernorm", "o_proj", None, _heads_llama, _rotary_halves, gated=True)
_GEMMA = replace(
    _LLAMA, mlp_norm="pre_feedforward_layernorm", norms_after=("post_attention_layernorm", "post_feedforward_layernorm")
)
PARTS = {
    "gpt2": Parts("ln_1", "ln_2", "c_proj", ("c_fc", "c_proj"), _heads_gpt2),
    "gptj": Parts(
        "ln_1",
        "ln_1",
        "out_proj",
        ("fc_in", "fc_out"),
        _heads_gptj,
        _rotary_gptj,
        lambda config: True,
        lambda attn: 1 / attn.scale_attn,
        attention_float32=True,
    ),
    "gpt_neox": Parts(
        "input_layernorm",
        "post_attention_layernorm",
        "dense",
        ("dense_h_to_4h", "dense_4h_to_h"),
        _heads_neox,
        _rotary_halves,
        lambda config: config.use_parallel_residual,
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": replace(_LLAMA, heads=_heads_normed),
    "gemma": _LLAMA,
    "gemma2": replace(_GEMMA, cap=lambda attn: attn.attn_logit_softcapping),
    "gemma3_text": replace(_GEMMA, heads=_heads_normed, rotary=_rotary_by_type),
    "phi": Parts(
        "input_layernorm",
        "input_layernorm",
        "dense",
        ("fc1", "fc2"),
        _heads_phi,
        _rotary_halves,
        lambda config: True,
        act="activation_fn",
    ),
    "phi3": replace(_LLAMA, heads=_heads_phi3),
    "opt": Parts(
        "self_attn_layer_norm",
        "final_layer_norm",
        "out_proj",
        ("fc1", "fc2"),
        _heads_opt,
        act="activation_fn",
        mlp_in_block=True,
        norms_first=lambda config: config.do_layer_norm_before,
    ),
}


def parts_of(lm) -> Parts:
    """The row of a model. ValueError if there is none."""
    kind = lm.model.config.model_type
    if kind not in PARTS:
        raise ValueError(
            f"model {lm.name}: no row for model_type {kind!r} in engram.model.block_parts.PARTS; known are {sorted(PARTS)}. "
            f"Add one with the fields {', '.join(field.name for field in fields(Parts))}"
        )
    return PARTS[kind]


def has_norm_after_mlp(lm) -> bool:
    """Whether a norm stands between the MLP's last projection and the block's output, so that a sum there is none
    here.
    """
    row = parts_of(lm)
    return row.norms_after is not None or not row.norms_first(lm.model.config)


def longest_text(lm) -> int | None:
    """Tokens up to which a text is computed as it is here: positions, what every attention reaches, one table of
    rotations.
    """
    config = lm.model.config
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
    window = getattr(config, "sliding_window", None) if "sliding_attention" in kinds else None
    rope = getattr(config, "rope_parameters", None) or {}
    longest = rope.get("original_max_position_embeddings") if rope.get("rope_type") == "longrope" else None
    return min(
        (size for size in (getattr(config, "max_position_embeddings", None), window, longest) if size), default=None
    )


def check_length(lm, length: int, what: str) -> None:
    """ValueError if a text of `length` tokens has no room."""
    limit, positions = longest_text(lm), getattr(lm.model.config, "max_position_embeddings", None)
    if limit is None or length <= limit:
        return
    if limit == positions:
        raise ValueError(f"model {lm.name}: a {what} of {length} tokens, but it has {limit} positions")
    raise ValueError(
        f"model {lm.name}: a {what} of {length} tokens, but some of its layers look back {limit} tokens at most, or "
        f"turn positions differently from there on: right is a shorter {what}"
    )
