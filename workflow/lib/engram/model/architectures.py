"""Where each architecture keeps its parts: a table with one row of module names per model_type."""

from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Architecture:
    """Module names of one architecture; `{}` is the layer. What is inside a block: engram.model.block_parts."""

    block: str
    attn: str
    mlp: str
    value: str  # the MLP's last projection: keys go in, values come out
    embed: str
    norm: str  # before the head; the module may be missing
    head: str
    qkv: tuple[str, ...]  # the projections in attn that make queries, keys and values
    maps: tuple[
        str, ...
    ] = ()  # linear maps of the MLP where no module holds them (then mlp is the last one); else all in mlp
    project: str | None = None  # between norm and head; the module may be missing
    conv1d: bool = False  # weights stored [in, out] (GPT-2) instead of [out, in]
    block_tuple: bool = False  # a block returns a tuple instead of a tensor


_OPT = "model.decoder"
_LLAMA = Architecture(
    "model.layers.{}",
    "model.layers.{}.self_attn",
    "model.layers.{}.mlp",
    "model.layers.{}.mlp.down_proj",
    "model.embed_tokens",
    "model.norm",
    "lm_head",
    ("q_proj", "k_proj", "v_proj"),
)
ARCHITECTURES = {
    "gpt2": Architecture(
        "transformer.h.{}",
        "transformer.h.{}.attn",
        "transformer.h.{}.mlp",
        "transformer.h.{}.mlp.c_proj",
        "transformer.wte",
        "transformer.ln_f",
        "lm_head",
        ("c_attn",),
        conv1d=True,
    ),
    "gptj": Architecture(
        "transformer.h.{}",
        "transformer.h.{}.attn",
        "transformer.h.{}.mlp",
        "transformer.h.{}.mlp.fc_out",
        "transformer.wte",
        "transformer.ln_f",
        "lm_head",
        ("q_proj", "k_proj", "v_proj"),
        block_tuple=True,
    ),
    "gpt_neox": Architecture(
        "gpt_neox.layers.{}",
        "gpt_neox.layers.{}.attention",
        "gpt_neox.layers.{}.mlp",
        "gpt_neox.layers.{}.mlp.dense_4h_to_h",
        "gpt_neox.embed_in",
        "gpt_neox.final_layer_norm",
        "lm_head",
        ("query_key_value",),
    ),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"), _LLAMA),
    "phi": replace(_LLAMA, value="model.layers.{}.mlp.fc2", norm="model.final_layernorm"),
    "phi3": replace(_LLAMA, qkv=("qkv_proj",)),
    "opt": Architecture(
        f"{_OPT}.layers.{{}}",
        f"{_OPT}.layers.{{}}.self_attn",
        f"{_OPT}.layers.{{}}.fc2",
        f"{_OPT}.layers.{{}}.fc2",
        f"{_OPT}.embed_tokens",
        f"{_OPT}.final_layer_norm",
        "lm_head",
        ("q_proj", "k_proj", "v_proj"),
        (f"{_OPT}.layers.{{}}.fc1", f"{_OPT}.layers.{{}}.fc2"),
        f"{_OPT}.project_out",
    ),
}


def architecture_of(name: str, kind: str) -> Architecture:
    """The row of a model_type. ValueError, with what is to be added, if there is none."""
    if kind not in ARCHITECTURES:
        names = ", ".join(field.name for field in fields(Architecture))
        raise ValueError(
            f"model {name}: no row for model_type {kind!r} in engram.model.architectures.ARCHITECTURES; known are "
            f"{sorted(ARCHITECTURES)}. Add a row {kind!r} there, with the fields {names}; one to "
            "engram.model.block_parts.PARTS; and the architecture to the tests' toy models"
        )
    return ARCHITECTURES[kind]
