"""What a run costs before it starts: operations, bytes and memory by stage, from the shape of the model and the counts.

Estimates, not bounds: a factor of two either way is to be expected. They rest on typical lengths (`TOKENS`) and on the
part of a machine's speed in plain products that a stage reaches (`SHARES`), measured on the model `mini` on two cores.
Shapes: d width, D keys, L layers, V vocabulary.
"""

from dataclasses import dataclass
from pathlib import PurePath
from typing import NamedTuple

import numpy as np

from engram.settings import edits, methods, stages, trace_variants

# PAPER: 100,000 articles are 44 million tokens. behind: from the looked-up token on; what is before it is computed
# once.
TOKENS = {"prompt": 9, "target": 2, "article": 440, "context": 25, "behind": 4}
CONTEXTS = 22  # texts in the loss of one optimised value
PROMPTS = {
    "counterfact": 24,
    "zsre": 6,
}  # of one record: rewrite, paraphrases, neighbours, attributes, reverse; zsRE: tokens
SPELT = {
    800: 1.7,
    2000: 1.4,
    8000: 1.15,
    50257: 1.0,
}  # tokens of a real text, of GPT-2's, by size of the vocabulary (measured)
TEXTS = 10  # generation prompts of a CounterFact record
SHARES = {
    "train": 0.5,
    "known": 0.13,
    "noise": 0.25,
    "prefixes": 0.05,
    "sampled": 0.2,
    "covariance": 0.5,
    "trace": 0.9,
    "targets": 0.8,
    "hypernet": 0.8,
    "edit": 0.5,
}
FLOAT = 4  # bytes of a number where nothing else is said
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}  # of a weight, as a model is loaded


@dataclass(frozen=True)
class Shape:
    """The shape of a model."""

    layers: int
    width: int
    inner: int
    vocabulary: int
    context: int
    positions: bool = True  # a learnt embedding of positions
    head: bool = False  # a head of its own, not the token embedding
    gated: bool = False  # the MLP has a gate: three maps instead of two

    @property
    def block(self) -> int:
        """Weights of one block, without biases."""
        return 4 * self.width**2 + (2 + self.gated) * self.width * self.inner

    @property
    def parameters(self) -> int:
        """Weights of the whole model, without biases and norms."""
        tables = self.vocabulary * (1 + self.head) + self.context * self.positions
        return self.layers * self.block + tables * self.width

    def forward(self, tokens: float, heads: float = 0.0) -> float:
        """Floating-point operations of a forward pass of `tokens` tokens, of which `heads` go through the head."""
        return 2 * (tokens * self.layers * self.block + heads * self.width * self.vocabulary)


PUBLISHED = {
    "openai-community/gpt2": Shape(12, 768, 3072, 50257, 1024),
    "openai-community/gpt2-medium": Shape(24, 1024, 4096, 50257, 1024),
    "openai-community/gpt2-large": Shape(36, 1280, 5120, 50257, 1024),
    "openai-community/gpt2-xl": Shape(48, 1600, 6400, 50257, 1024),
    "EleutherAI/gpt-j-6b": Shape(28, 4096, 16384, 50400, 2048, positions=False, head=True),
    "EleutherAI/gpt-neox-20b": Shape(44, 6144, 24576, 50432, 2048, positions=False, head=True),
    "SmolLM2-135M-Instruct.Q4_1.gguf": Shape(30, 576, 1536, 49152, 8192, positions=False, gated=True),
    "gemma-3-270m.Q4_K_M.gguf": Shape(18, 640, 2048, 262144, 32768, positions=False, gated=True),
}
GATED = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "gemma3_text", "phi3")  # MLPs with a gate


def shape_of(block: dict, configuration: dict | None = None) -> Shape | None:
    """The shape of a model of the parameter file: trained here, by the configuration of its checkpoint, or as
    published.
    """
    if "train" in block:
        train = block["train"]
        return Shape(train["layers"], train["width"], 4 * train["width"], train["vocabulary"], train["context"])
    if configuration:
        width = configuration.get("n_embd") or configuration["hidden_size"]
        return Shape(
            configuration.get("n_layer") or configuration["num_hidden_layers"],
            width,
            configuration.get("n_inner") or configuration.get("intermediate_size") or 4 * width,
            configuration["vocab_size"],
            configuration.get("n_positions") or configuration.get("max_position_embeddings", 2048),
            positions="n_positions" in configuration and "rotary_dim" not in configuration,
            head=not configuration.get("tie_word_embeddings", True),
            gated=configuration.get("model_type", "") in GATED,
        )
    return PUBLISHED.get(block.get("hub") or PurePath(block["gguf"]).name)


class Cost(NamedTuple):
    """Operations, and bytes that stay on the disk."""

    flop: float
    disk: float


def costs(values: dict, model: str, shape: Shape, rows: dict[str, int]) -> dict[str, Cost]:
    """Stage -> Cost, of the stages with a model that have jobs.

    `rows`: number of records of the tables facts, zsre and prompts, and of articles (`text`);
    `values`: the parameter file as the model sees it (items.seen), sweeps expanded.
    """
    block, by_stage, length = values["models"][model], {}, prompt_tokens(values, model, shape)
    if "train" in block:
        train = block["train"]
        tokens = train["steps"] * train["batch"] * train["length"]
        by_stage["train"] = Cost(3 * shape.forward(tokens, tokens), shape.parameters * FLOAT)
    asked = rows["prompts"] + rows["facts"] + rows["zsre"]
    new = sum(
        length * count for family in values["prefixes"]["families"].values() for length, count in family["lengths"]
    )
    own = values["sampled"]
    written = (own["passages"] + own["heldout"]) * own["tokens"]
    by_stage |= {
        "sampled": Cost(shape.forward(written, written), written * 4),
        "known": Cost(shape.forward(asked * (length + TOKENS["target"]), asked * TOKENS["target"]), asked * 40),
        "noise": Cost(
            0, len(trace_variants.rules(values, model, trace_variants.wanted(values))) * shape.width**2 * FLOAT
        ),
        "prefixes": Cost(shape.forward(new, new), 2000),
        "covariance": _covariance(values, block, shape, rows["text"]),
        "trace": _trace(values, model, shape, rows["prompts"], length),
        "targets": _targets(values, model, shape),
        "edit": _edit(values, model, shape, length),
    }
    if editors := edits.hypernets(values, model):
        by_stage["hypernet"] = _hypernets(values, model, shape, editors)
    return {stage: cost for stage, cost in by_stage.items() if stage in stages.wanted(values, model)}


def _covariance(values: dict, block: dict, shape: Shape, articles: int) -> Cost:
    layers, size = len(block["covariance_layers"]), 8 if values["covariance"]["dtype"] == "float64" else 4
    read = values["covariance"]
    tokens = min(read["articles"], articles) * min(TOKENS["article"], shape.context, read["max_tokens"])
    tokens = tokens if read["tokens"] == "all" else min(tokens, read["tokens"])
    upto = (max(block["covariance_layers"]) + 1) / shape.layers
    exact = 2 if size == 8 else 1
    disk = layers * shape.inner**2 * size
    return Cost(shape.forward(tokens) * upto + exact * 2 * tokens * layers * shape.inner**2, disk)


def prompt_tokens(values: dict, model: str, shape: Shape) -> float:
    """Tokens of a prompt; the generated world is spelt in its own words, whatever the size of the vocabulary."""
    block = values["models"][model]
    real = values["sources"][block["source"]]["kind"] != "world"
    factor = np.interp(np.log(shape.vocabulary), np.log([*SPELT]), [*SPELT.values()]) if real else 1.0
    return TOKENS["prompt"] * float(factor)


def _trace(values: dict, model: str, shape: Shape, prompts: int, length: float) -> Cost:
    """A state that is restored is computed for the layers above it and the tokens from there on: a quarter of all
    together.
    """
    flop = disk = 0.0
    layers = shape.layers
    for name in trace_variants.wanted(values):
        section = trace_variants.section(values["trace"], name)
        count, sites = min(section["prompts"], prompts), len(section["sites"])
        restored = layers * (length if section["tokens"] == "all" else 1)
        runs = count * section["samples"] * sites * restored
        flop += runs * 2 * (length / 2 * layers / 2 * shape.block + shape.width * shape.vocabulary)
        disk += count * sites * restored * 12
    return Cost(flop, disk)


def _targets(values: dict, model: str, shape: Shape) -> Cost:
    flop = disk = 0.0
    for (_, family), which in edits.targets(values, model).items():
        count = max(
            which["count"], *(size for size, _ in which.get("groups", [[0, 0]]))
        )  # groups are mostly among the first
        block = values["methods"][family][model]
        layer = block.get("layer", max(block.get("layers", [0])))
        above = (shape.layers - layer) / shape.layers
        tokens = count * block.get("steps", 20) * CONTEXTS * TOKENS["behind"]
        flop += 2 * shape.forward(tokens, tokens / TOKENS["behind"]) * above  # the weights get no gradients
        disk += count * shape.width * FLOAT * 3
    return Cost(flop, disk)


def _edit(values: dict, model: str, shape: Shape, tokens: float) -> Cost:
    flop = disk = 0.0
    for (dataset, method, n), count in edits.counts(values, model).items():
        rows = count * PROMPTS[dataset] * (2 if dataset == "counterfact" else 1)
        flop += shape.forward(rows * (tokens + TOKENS["target"]), rows * TOKENS["target"])
        texts = edits.texts(values, model, dataset, method, n)
        texts = (count if texts is None else texts) * TEXTS if dataset == "counterfact" else 0
        length = values["edit"]["generation_tokens"]
        flop += shape.forward(texts * length, texts * length)
        disk += rows * 10 + texts * length * 2
        if "covariance" in methods.needs(values, method):
            flop += shape.inner**3 * len(values["methods"][method][model].get("layers", [0]))
    return Cost(flop, disk)


def _hypernets(values: dict, model: str, shape: Shape, editors: dict) -> Cost:
    flop = disk = 0.0
    for name in editors:
        block = values["hypernet"].get(values["hypernet"]["editors"][name]["net"], {}).get(model)
        if block and name not in values["hypernet"]["published"].get(model, {}):
            tokens = (
                block["training"]["steps"]
                * block["training"]["edits"]
                * (block["data"]["text_tokens"] + TOKENS["context"])
            )
            flop += 6 * shape.forward(tokens, tokens)
            disk += 2 * block["network"]["layers"] * (shape.width + shape.inner) ** 2 * FLOAT
    return Cost(flop, disk)


def memory(values: dict, model: str, shape: Shape) -> float:
    """Bytes that the device must have: the weights, room to work, and the most that a stage takes besides them: a
    second moment that is solved with, half of those of all layers while they are summed, or gradients and Adam's
    moments in training.
    """
    block = values["models"][model]
    solving, summing = 3 * shape.inner**2 * 8, (len(block["covariance_layers"]) + 1) * shape.inner**2 * 4
    training = 3 * shape.parameters * FLOAT if "train" in block else 0
    return shape.parameters * BYTES[block.get("dtype", "float32")] + 2 * 2**30 + max(solving, summing, training)


def seconds(by_stage: dict[str, Cost], rate: float) -> dict[str, float]:
    """Stage -> time, on a device that computes `rate` operations a second in products of large matrices."""
    return {stage: cost.flop / (rate * SHARES[stage]) for stage, cost in by_stage.items()}
