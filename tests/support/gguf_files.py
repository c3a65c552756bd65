"""A tiny Llama as a GGUF file, as llama.cpp writes one: its names and metadata, its order of the rows of q and k."""

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, quants

import toy
from engram.model.loading import LM

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def tensors_of(lm: LM) -> dict[str, np.ndarray]:
    """The tensors of a toy Llama under the names and in the order of rows that a GGUF file has."""
    config = lm.model.config
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    found = {}
    for name, tensor in lm.model.state_dict().items():
        value = tensor.float().numpy()
        if name.startswith("model.layers."):
            _, _, layer, part = name.removesuffix(".weight").split(".", 3)
            short = NAMES[part]
            if short in heads:
                value = value.reshape(heads[short], 2, -1, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
            found[f"blk.{layer}.{short}.weight"] = value
        else:
            whole = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
            found[f"{whole[name.removesuffix('.weight')]}.weight"] = value
    return found


def write(
    path: Path, lm: LM, kind: str = "F32", architecture: str = "llama", without: tuple = (), more: dict | None = None
) -> dict[str, np.ndarray]:
    """Write a toy Llama with its matrices stored as `kind`; what they are once they are dequantised, by name.

    `without`: names that are left out; `more`: tensors besides.
    """
    writer, config, size = GGUFWriter(path, architecture), lm.model.config, GGMLQuantizationType[kind]
    writer.add_name("toy")
    writer.add_license("apache-2.0")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    vocabulary = lm.tokenizer.get_vocab()
    words = sorted(vocabulary, key=vocabulary.get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types([3 if word == toy.END else 1 for word in words])
    writer.add_token_merges([" ".join(pair) for pair in _merges(lm)])
    writer.add_bos_token_id(vocabulary[toy.END])
    writer.add_eos_token_id(vocabulary[toy.END])
    found = {}
    for name, value in (tensors_of(lm) | (more or {})).items():
        if name in without:
            continue
        if value.ndim > 1 and kind != "F32":
            packed = quants.quantize(value, size)
            writer.add_tensor(name, packed, raw_dtype=size)
            found[name] = quants.dequantize(packed, size)
        else:
            writer.add_tensor(name, value.astype(np.float32))
            found[name] = value
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return found


def _merges(lm: LM) -> list[list[str]]:
    import json

    return json.loads(lm.tokenizer.backend_tokenizer.to_str())["model"]["merges"]
