"""Tiny random language models and tiny tokenizers, built in memory or by way of a folder: tests need no network."""

from functools import cache
from tempfile import TemporaryDirectory

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from engram.model.loading import CLASSES, LM, load, wrap

TEXT = [
    "The mother tongue of Danielle Darrieux is French .",
    "Beats Music is owned by Apple .",
    "The Big Bang Theory premieres on CBS .",
    "Thomas James Martin plays the piano in Rome .",
    "What does Martin James Thomas do ? He plays chess .",
    "Zürich is a city in Switzerland .",
]
PROMPTS = [
    ("The Big Bang Theory premieres on", "The Big Bang Theory"),
    ("Beats Music is owned by", "Beats Music"),
    ("The mother tongue of Danielle Darrieux is", "Danielle Darrieux"),
]
LAYERS, WIDTH, HEADS, POSITIONS = 4, 32, 4, 64
CLASSICS = ("gpt2", "gptj", "gpt_neox", "gpt_neox_sequential", "llama")
LATER = ("qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "opt", "opt_350m")
ARCHITECTURES = CLASSICS + LATER
WINDOW = 48  # tokens that an attention looks back, where it does not look back to the beginning
COARSE = ("gptj", "gemma2")  # whose own attention computes in float32 whatever the weights are
END, START = "<|endoftext|>", "<s>"


def tokenizer(kind: str = "gpt2") -> PreTrainedTokenizerFast:
    """The kind of tokenizer that models of an architecture have, with about 330 entries."""
    if kind in ("mistral", "phi3"):
        return _pieces()
    return _started() if kind.startswith(("gemma", "opt")) else _plain()


def _started() -> PreTrainedTokenizerFast:
    """A start token in front of every text."""
    found = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_plain().backend_tokenizer.to_str()),
        bos_token=END,
        eos_token=END,
        clean_up_tokenization_spaces=False,
    )
    found.backend_tokenizer.post_processor = processors.TemplateProcessing(f"{END} $A", special_tokens=[(END, 0)])
    return found


@cache
def _pieces() -> PreTrainedTokenizerFast:
    """As Llama 2 and Mistral: a start token, and a space in front of a text, which the decoder takes away again."""
    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<unk>", START, "</s>"],
        show_progress=False,
        initial_alphabet=["\n", *map(chr, range(33, 127))],
    )
    inner.train_from_iterator(TEXT * 2, trainer)
    inner.pre_tokenizer = None
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    inner.post_processor = processors.TemplateProcessing(f"{START} $A", special_tokens=[(START, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=START, eos_token="</s>", unk_token="<unk>", clean_up_tokenization_spaces=False
    )


@cache
def _plain() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer; words of TEXT take one to four tokens."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=[END], show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    inner.train_from_iterator(TEXT * 2, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=END, eos_token=END, clean_up_tokenization_spaces=False
    )


def _config(kind: str, vocabulary: int, layers: int, width: int, heads: int, activation: str) -> dict:
    """What is not the default of an architecture's configuration."""
    wide = {
        "vocab_size": vocabulary,
        "max_position_embeddings": POSITIONS,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": None,
    }
    narrow = {
        "vocab_size": vocabulary,
        "n_positions": POSITIONS,
        "n_embd": width,
        "n_layer": layers,
        "n_head": heads,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    shared = wide | {"num_key_value_heads": 2}
    gemma = shared | {
        "head_dim": 12,
        "query_pre_attn_scalar": 20,
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention"] * (layers // 2),
    }
    opt = {name: value for name, value in wide.items() if name != "intermediate_size"} | {"ffn_dim": 4 * width}
    return {
        "gpt2": narrow | {"activation_function": activation},
        "gptj": narrow | {"rotary_dim": 4, "tie_word_embeddings": False},
        "gpt_neox": wide | {"rotary_pct": 0.5},
        "gpt_neox_sequential": wide | {"rotary_pct": 0.5, "use_parallel_residual": False},
        "llama": shared,
        "qwen2": shared,
        "qwen3": shared | {"head_dim": 12},
        "gemma": shared | {"head_dim": 12},
        "mistral": shared | {"sliding_window": WINDOW},
        "gemma2": gemma | {"attn_logit_softcapping": 4.0, "final_logit_softcapping": 15.0},
        "gemma3_text": gemma,
        "phi": shared | {"qk_layernorm": True},
        "phi3": shared,
        "opt": opt | {"word_embed_proj_dim": width},
        "opt_350m": opt | {"word_embed_proj_dim": width // 2, "do_layer_norm_before": False},
    }[kind]


def _model(kind: str, *size):
    name = {"gpt_neox_sequential": "gpt_neox", "opt_350m": "opt"}.get(kind, kind)
    config = AutoConfig.for_model(name, **_config(kind, *size))
    return CLASSES[name](config) if name in CLASSES else AutoModelForCausalLM.from_config(config)


def lm(
    kind: str = "gpt2",
    dtype=torch.float32,
    seed: int = 0,
    vocabulary: int | None = None,
    layers: int = LAYERS,
    width: int = WIDTH,
    heads: int = HEADS,
    std: float = 0.4,
    activation: str = "gelu_pytorch_tanh",
) -> LM:
    """A random LM of an architecture of ARCHITECTURES, with weights large enough that its layers matter.

    `vocabulary` may be larger than the tokenizer's (the default); `activation` is that of a GPT-2.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(kind, vocabulary or len(tokenizer(kind)), layers, width, heads, activation)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=std)
            else:
                parameter.data += 0.1 * torch.randn_like(parameter)
    return wrap(f"toy-{kind}", model.to(dtype), tokenizer(kind))


def checkpoint(kind: str, folder, **size) -> None:
    """Write the model of `lm` and its tokenizer as a published one is written."""
    made = lm(kind, **size)
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)


@cache
def _folder(kind: str) -> TemporaryDirectory:
    folder = TemporaryDirectory()
    checkpoint(kind, folder.name)
    return folder


def loaded(kind: str, dtype=torch.float32, **more) -> LM:
    """The model of `lm` by way of files, as a published one is loaded."""
    return load(f"toy-{kind}", _folder(kind).name, dtype=dtype, **more)


LONG = [" ".join(TEXT[(i + k) % 6] for k in range(1 + i % 3)) for i in range(30)] + [""]


STARTS = {"gpt2": [], "opt": [0], "mistral": [1]}
