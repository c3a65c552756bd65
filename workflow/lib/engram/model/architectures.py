"""Where each architecture keeps its modules: one row of names for every `model_type` of transformers.

A new architecture needs a row here and one in engram.model.block_parts.PARTS, which says what is inside a block.
engram.model.loading.LM finds modules by these names.
"""

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Architecture:
    """The names of an architecture's modules, as paths from the model; `{}` stands for the number of the layer."""

    block: str
    attn: str
    mlp: str
    value: str  # the MLP's last projection: keys go in, values come out
    embed: str
    norm: str  # before the head; the module may be missing
    head: str
    qkv: tuple[str, ...]  # the projections in attn that make queries, keys and values
    maps: tuple[str, ...] = ()  # the MLP's linear maps where the block has no module for its MLP: `mlp` is the last one
    project: str | None = None  # between norm and head; the module may be missing
    conv1d: bool = False  # weights stored [in, out] (GPT-2) instead of [out, in]
    block_tuple: bool = False  # a block returns a tuple instead of a tensor
    leftovers: str = r"(?!)"  # names of tensors that some checkpoints hold and nothing reads: masks, rotary frequencies


_QKV = ("q_proj", "k_proj", "v_proj")
_MASKS = r"\battn(ention)?\.(bias|masked_bias)$"
_FREQUENCIES = r"\brotary_emb\.inv_freq$"
_GPT2 = Architecture(
    "transformer.h.{}",
    "transformer.h.{}.attn",
    "transformer.h.{}.mlp",
    "transformer.h.{}.mlp.c_proj",
    "transformer.wte",
    "transformer.ln_f",
    "lm_head",
    ("c_attn",),
    conv1d=True,
    leftovers=_MASKS,
)
_LLAMA = Architecture(
    "model.layers.{}",
    "model.layers.{}.self_attn",
    "model.layers.{}.mlp",
    "model.layers.{}.mlp.down_proj",
    "model.embed_tokens",
    "model.norm",
    "lm_head",
    _QKV,
    leftovers=_FREQUENCIES,
)
_OPT_BLOCK = "model.decoder.layers.{}"
ARCHITECTURES = {
    "gpt2": _GPT2,
    "gptj": replace(_GPT2, value="transformer.h.{}.mlp.fc_out", qkv=_QKV, conv1d=False, block_tuple=True),
    "gpt_neox": Architecture(
        "gpt_neox.layers.{}",
        "gpt_neox.layers.{}.attention",
        "gpt_neox.layers.{}.mlp",
        "gpt_neox.layers.{}.mlp.dense_4h_to_h",
        "gpt_neox.embed_in",
        "gpt_neox.final_layer_norm",
        "lm_head",
        ("query_key_value",),
        leftovers=f"{_MASKS}|{_FREQUENCIES}",
    ),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"), _LLAMA),
    "phi": replace(_LLAMA, value="model.layers.{}.mlp.fc2", norm="model.final_layernorm"),
    "phi3": replace(_LLAMA, qkv=("qkv_proj",)),
    "opt": Architecture(
        _OPT_BLOCK,
        f"{_OPT_BLOCK}.self_attn",
        f"{_OPT_BLOCK}.fc2",
        f"{_OPT_BLOCK}.fc2",
        "model.decoder.embed_tokens",
        "model.decoder.final_layer_norm",
        "lm_head",
        _QKV,
        (f"{_OPT_BLOCK}.fc1", f"{_OPT_BLOCK}.fc2"),
        "model.decoder.project_out",
    ),
}


def architecture_of(name: str, kind: str) -> Architecture:
    """The names of modules for the `model_type` `kind`; ValueError says what to add if the table has no such row.

    `name` is the model's, for the error.
    """
    if kind not in ARCHITECTURES:
        names = ", ".join(field.name for field in fields(Architecture))
        raise ValueError(
            f"model {name}: no row for model_type {kind!r} in engram.model.architectures.ARCHITECTURES; known are "
            f"{sorted(ARCHITECTURES)}. Add a row {kind!r} there, with the fields {names}; one to "
            "engram.model.block_parts.PARTS; and the architecture to the tests' toy models"
        )
    return ARCHITECTURES[kind]
