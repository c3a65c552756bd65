"""Tiny random language models and a tiny tokenizer, built in memory: tests need no file and no network."""

from functools import cache

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from engram.models import LM, wrap

TEXT = ["The mother tongue of Danielle Darrieux is French .", "Beats Music is owned by Apple .",
        "The Big Bang Theory premieres on CBS .", "Thomas James Martin plays the piano in Rome .",
        "What does Martin James Thomas do ? He plays chess .", "Zürich is a city in Switzerland ."]
PROMPTS = [("The Big Bang Theory premieres on", "The Big Bang Theory"), ("Beats Music is owned by", "Beats Music"),
           ("The mother tongue of Danielle Darrieux is", "Danielle Darrieux")]
LAYERS, WIDTH, HEADS, POSITIONS = 4, 32, 4, 64
ARCHITECTURES = ("gpt2", "gptj", "gpt_neox", "gpt_neox_sequential", "llama")


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of about 330 entries; words of TEXT take one to four tokens."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=["<|endoftext|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    inner.train_from_iterator(TEXT * 2, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<|endoftext|>", eos_token="<|endoftext|>",
                                   clean_up_tokenization_spaces=False)


def _model(kind: str, vocabulary: int, layers: int, width: int, heads: int, activation: str):
    wide = {"vocab_size": vocabulary, "max_position_embeddings": POSITIONS, "hidden_size": width,
            "intermediate_size": 4 * width, "num_hidden_layers": layers, "num_attention_heads": heads,
            "bos_token_id": 0, "eos_token_id": 0}
    narrow = {"vocab_size": vocabulary, "n_positions": POSITIONS, "n_embd": width, "n_layer": layers, "n_head": heads,
              "bos_token_id": 0, "eos_token_id": 0}
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(**narrow, activation_function=activation))
    if kind == "gptj":
        return GPTJForCausalLM(GPTJConfig(**narrow, rotary_dim=4, tie_word_embeddings=False))
    if kind.startswith("gpt_neox"):
        return GPTNeoXForCausalLM(GPTNeoXConfig(**wide, use_parallel_residual=kind == "gpt_neox", rotary_pct=0.5))
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**wide, num_key_value_heads=2))
    raise ValueError(f"no toy model {kind!r}; there are {ARCHITECTURES}")


def lm(kind: str = "gpt2", dtype=torch.float32, seed: int = 0, vocabulary: int | None = None, layers: int = LAYERS,
       width: int = WIDTH, heads: int = HEADS, std: float = 0.4,
       activation: str = "gelu_pytorch_tanh") -> LM:
    """A random LM of an architecture of ARCHITECTURES, with weights large enough that its layers matter.

    `vocabulary` may be larger than the tokenizer's (the default); `activation` is that of a GPT-2.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(kind, vocabulary or len(tokenizer()), layers, width, heads, activation)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=std)
            else:
                parameter.data += 0.1 * torch.randn_like(parameter)
    return wrap(f"toy-{kind}", model.to(dtype), tokenizer())
