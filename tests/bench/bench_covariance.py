"""Second moments of all layers against the oracle, in turn in one process; or one run at the size of a published model.

    python tests/bench/bench_covariance.py [--rounds 5] [--threads 2]          embedded model's shape, engine : oracle
    python tests/bench/bench_covariance.py --text FILE.jsonl --vocabulary FOLDER [--shape gpt2-xl] [--articles 1000]
    python tests/bench/bench_covariance.py --text FILE.jsonl --vocabulary FOLDER --shape tiny --articles 8 --threads 1

The oracle is the published way (spec 2.6): one pass over the text per layer, which ends at that layer, batches of at
most three times the model's length in groups of 100 articles, padded keys left out, a running float32 sum. It is given
token rows; the engine starts from the texts. The second form reads `text` of real articles, tokenizes them with
encoder.json and vocab.bpe of FOLDER, and runs the engine alone on random weights of the shape, on the GPU if there is
one: tokens per second, the share of the peak of float32 matrix products measured in the same process (`--threads` are
those of the CPU), and the peak of memory.
"""

import argparse
import json
import resource
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import toy
from engram.editing import covariance
from engram.editing.second_moment import stripes_of
from engram.model import runtime
from engram.model import tokens as tokens_
from engram.model.hooks import call_until_stop, captured
from engram.model.loading import LM, wrap


@dataclass(frozen=True)
class Shape:
    layers: int
    width: int
    heads: int
    positions: int
    vocabulary: int


SHAPES = {
    "embedded": Shape(8, 128, 4, 128, 1500),
    "gpt2-xl": Shape(48, 1600, 25, 1024, 50257),
    "tiny": Shape(4, 64, 4, 1024, 50257),
}


def random_model(shape: Shape, tokenizer, device) -> LM:
    torch.manual_seed(0)
    with torch.device(device):
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=shape.vocabulary,
                n_positions=shape.positions,
                n_embd=shape.width,
                n_layer=shape.layers,
                n_head=shape.heads,
                activation_function="gelu_pytorch_tanh",
            )
        )
    return wrap("random", model, tokenizer)


@torch.no_grad()
def oracle(lm, layers, rows, limit) -> dict[int, torch.Tensor]:
    """Sums of k kᵀ, one pass over the text per layer."""
    found = {}
    for layer in layers:
        module, total = {"value": lm.module("value", layer)}, 0
        for batch in covariance.batches(rows, 3 * limit):
            ids, lengths = tokens_.pad(batch, lm.device)
            with captured(module, "input", stop="value") as keys:
                call_until_stop(lm.hidden, ids)
            flat = keys["value"][torch.arange(ids.shape[1], device=lm.device) < lengths[:, None]]
            total = total + flat.T @ flat
        found[layer] = total
    return found


def operations(shape: Shape, found: list, layers, products: int) -> float:
    """Multiplications and additions of matrix products in one pass over the batches `found` that feeds `layers`.

    `products`: those of one key, 2 D² for a full matrix. Attention counts every pair of positions, as it is computed.
    """
    d, blocks = shape.width, max(layers) + 1
    total = 0
    for batch in found:
        padded, length = len(batch) * max(map(len, batch)), max(map(len, batch))
        total += padded * (blocks * (24 * d * d + 4 * length * d) - 8 * d * d)  # the last projection is not run
        total += sum(map(len, batch)) * products * len(layers)
    return total


def half_products(width: int) -> int:
    return 2 * sum((end - start) * end for start, end in stripes_of(width))


def peak(device, size: int) -> float:
    """Operations per second of a large float32 matrix product, median of five."""
    a, times = torch.randn(size, size, device=device), []
    for _ in range(6):
        begin = perf_counter()
        (a @ a).sum().item()
        times.append(perf_counter() - begin)
    return 2 * size**3 / median(times[1:])


def compare(args) -> None:
    shape = SHAPES["embedded"]
    lm = random_model(shape, toy.tokenizer(), "cpu")
    order = np.random.default_rng(0)
    texts = [
        " ".join(toy.TEXT[i] for i in order.integers(0, len(toy.TEXT), order.integers(4, 9)))
        for _ in range(args.articles)
    ]
    layers, limit = range(shape.layers), shape.positions
    rows = covariance.token_rows(lm.tokenizer, texts, limit)
    oracle_s, engine_s, worst = [], [], 0.0
    for turn in range(args.rounds + 1):
        begin = perf_counter()
        expected = oracle(lm, layers, rows, limit)
        middle = perf_counter()
        found = covariance.second_moments(lm, list(layers), texts, limit, args.batch_tokens or 2048)
        if turn:  # the first round warms up
            engine_s.append(perf_counter() - middle)
            oracle_s.append(middle - begin)
        worst = max(worst, *(float((found[at].total - expected[at]).norm() / expected[at].norm()) for at in layers))
    full, keys = 2 * (4 * shape.width) ** 2, sum(map(len, rows))
    slow = sum(operations(shape, covariance.batches(rows, 3 * limit), [at], full) for at in layers) / keys
    fast = (
        operations(shape, covariance.batches(rows, args.batch_tokens or 2048), layers, half_products(4 * shape.width))
        / keys
    )
    ratios = quantiles([a / b for a, b in zip(oracle_s, engine_s)], n=4)
    print(
        f"covariance, {len(layers)} layers, {keys} tokens: oracle {median(oracle_s):.2f} s, engine "
        f"{median(engine_s):.2f} s, "
        f"ratio of medians {median(oracle_s) / median(engine_s):.2f} (quartiles of single ratios {ratios[0]:.2f} .. "
        f"{ratios[2]:.2f}), operations {slow / 1e6:.1f} : {fast / 1e6:.1f} million a token = "
        f"{slow / fast:.2f}, largest "
        f"relative difference {worst:.1e}, {args.threads} threads"
    )


def gpt2_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.BPE.from_file(str(folder / "encoder.json"), str(folder / "vocab.bpe")))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner)


def at_size(args) -> None:
    shape, device = SHAPES[args.shape], runtime.start(runtime.Runtime(args.threads, "auto"))
    with open(args.text, encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in islice(file, args.articles)]
    if len(texts) < args.articles:
        print(f"{args.text} holds {len(texts)} articles; they are read again from the start up to {args.articles}")
        texts = [texts[i % len(texts)] for i in range(args.articles)]
    lm = random_model(shape, gpt2_tokenizer(args.vocabulary), device)
    begin = perf_counter()
    rows = covariance.token_rows(lm.tokenizer, texts, shape.positions)
    tokenized, layers = perf_counter() - begin, list(range(shape.layers))
    cuda = device.type == "cuda"
    budget = args.batch_tokens or (16384 if cuda else 2048)
    batches, keys, best = covariance.batches(rows, budget), sum(map(len, rows)), peak(device, 8192 if cuda else 512)
    covariance.second_moments(lm, layers[:1], texts[:2], shape.positions, budget)  # warms up
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    begin = perf_counter()
    found = covariance.second_moments(lm, layers, texts, shape.positions, budget)  # ends with the sums in main memory
    seconds = perf_counter() - begin
    work = operations(shape, batches, layers, half_products(4 * shape.width))
    memory = (
        torch.cuda.max_memory_allocated(device) if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    name = torch.cuda.get_device_name(device) if cuda else f"CPU, {args.threads} threads"
    print(
        f"covariance, {args.shape} ({shape.layers} layers, D {4 * shape.width}) on {name}: {len(texts)} articles, "
        f"{keys} tokens, {len(batches)} batches of {budget}: {seconds:.1f} s ({tokenized:.1f} s of it tokenizing), "
        f"{keys / seconds:,.0f} tokens/s, {work / 1e12:,.2f} T operations = {work / seconds / 1e12:.2f} T/s, "
        f"{work / seconds / best:.0%} of the measured {best / 1e12:.2f} T/s "
        f"({work / (seconds - tokenized) / best:.0%} without "
        f"tokenizing), peak memory {memory / 2**30:.1f} GiB"
    )
    assert all(moment.count == keys for moment in found.values())


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rounds", 5), ("threads", 2), ("articles", None), ("batch-tokens", None)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--text", type=Path, help="articles, one json object with `text` a line")
    parser.add_argument("--vocabulary", type=Path, help="folder of encoder.json and vocab.bpe")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="gpt2-xl")
    args = parser.parse_args(argv)
    if (args.text is None) != (args.vocabulary is None):
        parser.error("--text and --vocabulary belong together")
    args.articles = args.articles or (1000 if args.text else 200)
    if args.text:
        at_size(args)
    else:
        runtime.start(runtime.Runtime(args.threads, "cpu"))
        compare(args)


if __name__ == "__main__":
    main()
