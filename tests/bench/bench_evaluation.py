"""Evaluation of edited models against its oracle, in turn in one process; or the size of a published model on a GPU.

    python tests/bench/bench_evaluation.py [--rounds 3] [--threads 2] [--records 64] [--slow 16]    embedded model
    python tests/bench/bench_evaluation.py --shape gpt2-xl --device cuda --records 128 --slow 2 --batch 2048
    python tests/bench/bench_evaluation.py --shape tiny --records 4 --slow 2 --rounds 1 --threads 1

The oracle is what a competent reader would write from the papers: one record at a time, its change written into the
weights; all prompts with both objects in one padded batch; the 10 generation prompts in one left-padded batch to 100
tokens, with the library's own KV cache. It takes the first `slow` of the `records` in every round, the engine all of
them; both numbers are per record. Changes are random and of rank one. The first form takes the trained model and its
facts if they are there (results/train/mini, data/mini), else random weights of that shape. Beside each ratio stands
that of the counted operations of matrix products (2 per multiplication and addition): what is left is the arithmetic's
better shape, and overhead.
"""

import argparse
import contextlib
import os
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

from engram.datasets import world
from engram.editing import outcomes, records
from engram.job import io, seeds
from engram.model import batches, generation, loading, runtime, scoring, tokens, training
from engram.model.delta import Delta, place

SHAPES = {"embedded": (8, 128, 4, 1500), "gpt2-xl": (48, 1600, 25, 50257), "tiny": (3, 64, 4, 2000)}
WORLD = {
    "kind": "world",
    "subjects": 60,
    "relations": 8,
    "objects": 10,
    "documents": 400,
    "articles": 10,
    "listed": 0.5,
    "four_words": 0.5,
}
LENGTH, TOP_K, KEY = 100, 5, (0, "bench")


def subject_of(shape: str, device):
    """The model, and the facts it is asked about."""
    if shape == "embedded" and Path("results/train/mini/model.safetensors").exists():
        return loading.load("mini", "results/train/mini", device), io.read_table("data/mini/facts.parquet")
    layers, width, heads, vocabulary = SHAPES[shape]
    tables = world.tables(WORLD, 0)
    tokenizer = training.train_tokenizer(list(tables["corpus"]["text"]), 1500)
    torch.manual_seed(0)
    with torch.device(device):
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocabulary,
                n_positions=128,
                n_embd=width,
                n_layer=layers,
                n_head=heads,
                activation_function="gelu_new",
                bos_token_id=0,
                eos_token_id=0,
            )
        )
    return loading.wrap(shape, model, tokenizer), tables["facts"]


def changes(lm, count: int) -> list[Delta]:
    """Random changes of rank one, a tenth of the weight's norm, at two fifths of the depth (0 for the embedded
    model).
    """
    layer = 0 if lm.layers < 20 else 17
    weight = place(lm, layer).weight
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(count):
        left, right = (torch.randn(size, 1, generator=generator).to(weight.device) for size in weight.shape)
        found.append(Delta({layer: (left * 0.1 * weight.norm() / left.norm() / right.norm(), right)}))
    return found


@torch.inference_mode()
def slow_probabilities(lm, row) -> list[float]:
    """Nll of every (prompt, target) of one record: one padded batch through the model as it is."""
    queries = [(ids, target) for ids, target, _ in records.counterfact(lm.tokenizer, row)]
    ids, lengths = tokens.pad([[*prompt, *target] for prompt, target in queries], lm.device)
    mask = (torch.arange(ids.shape[1], device=lm.device) < lengths[:, None]).long()
    logs = lm.model(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
    return [
        -float(np.mean([logs[i, len(prompt) + j - 1, token].item() for j, token in enumerate(target)]))
        for i, (prompt, target) in enumerate(queries)
    ]


@torch.inference_mode()
def slow_texts(lm, row, top_k: int) -> list[str]:
    """A sample for each generation prompt of one record: one left-padded batch, transformers' cache."""
    prompts = [tokens.encode(lm.tokenizer, prompt) for prompt in row.generation_prompts]
    most = max(map(len, prompts))
    ids = torch.tensor([[0] * (most - len(prompt)) + prompt for prompt in prompts], device=lm.device)
    mask = torch.tensor([[0] * (most - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=lm.device)
    draws = np.stack([seeds.rng(*KEY, row.case_id, i).random(LENGTH) for i in range(len(prompts))])
    draws = torch.tensor(draws, device=lm.device)
    cache, step, lengths = DynamicCache(config=lm.model.config), ids, mask.sum(1)
    while int(lengths.min()) < LENGTH:
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -step.shape[1] :]
        logits = lm.model(
            input_ids=step,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        uniform = draws.gather(1, lengths.clamp(max=LENGTH - 1)[:, None])[:, 0]
        step = generation._draw(logits, uniform, top_k)
        ids, mask, lengths = torch.cat([ids, step], 1), torch.cat([mask, torch.ones_like(step)], 1), lengths + 1
    return [
        generation.tidy(lm.tokenizer.decode(line[most - len(prompt) :][:LENGTH]))
        for line, prompt in zip(ids.tolist(), prompts)
    ]


def slow(lm, rows, deltas, what: str, top_k: int) -> list:
    """Per record, in turn: change the weights, ask, change them back."""
    found = []
    for row, delta in zip(rows.itertuples(), deltas):
        for layer in delta.parts:
            weight = lm.value_weight(layer)
            before = weight.clone()
            weight.add_(delta.dense(layer))
            found += slow_probabilities(lm, row) if what == "probabilities" else slow_texts(lm, row, top_k)
            weight.copy_(before)
    return found


def fast(lm, rows, deltas, what: str, top_k: int, config) -> list:
    if what == "probabilities":
        queries, _ = records.queries(lm.tokenizer, rows, "counterfact")
        return [one.nll for one in scoring.score(lm, queries, deltas, config.batch, "prompt")]
    asked = records.generation_rows(rows)
    return generation.generate(
        lm,
        [row["prompt"] for row in asked],
        [(*KEY, row["case_id"], row["prompt_index"]) for row in asked],
        LENGTH,
        top_k,
        deltas,
        [row["record"] for row in asked],
        config.generation_batch,
    )


def timed(lm, call, *args) -> tuple[float, float, list]:
    """Wall-clock and CPU seconds, and what the call gave."""
    begin, cpu = perf_counter(), process_time()
    found = call(*args)
    if lm.device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - begin, process_time() - cpu, found


def operations(call, *args) -> int:
    """Operations of matrix products, counted while it runs on one thread (the counter sees no others)."""
    each = batches.map_batches
    batches.map_batches = lambda lm, parts, compute, what: [compute(lm, part) for part in parts]
    try:
        with FlopCounterMode(display=False) as counter:
            call(*args)
    finally:
        batches.map_batches = each
    return counter.get_total_flops()


def differences(lm, rows, deltas, config) -> str:
    wanted, found = slow(lm, rows, deltas, "probabilities", 1), fast(lm, rows, deltas, "probabilities", 1, config)
    worst = max(abs(a - b) / max(abs(a), 1) for a, b in zip(wanted, found))
    greedy = [slow(lm, rows, deltas, "texts", 1), fast(lm, rows, deltas, "texts", 1, config)]
    same = sum(a == b for a, b in zip(*greedy))
    return f"largest difference of an nll {worst:.1e} of max(nll, 1); {same} of {len(greedy[0])} greedy texts identical"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (
        ("rounds", 3),
        ("threads", 2),
        ("records", 64),
        ("slow", 16),
        ("batch", scoring.ROWS),
        ("texts", generation.ROWS),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--shape", choices=SHAPES, default="embedded")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--no-operations", action="store_true", help="do not count operations (a slow pass)")
    args = parser.parse_args(argv)
    device = runtime.start(runtime.Runtime(threads=args.threads, device=args.device))
    lm, facts = subject_of(args.shape, device)
    rows, config = facts.head(args.records), outcomes.Config(batch=args.batch, generation_batch=args.texts)
    deltas, few = changes(lm, len(rows)), rows.head(args.slow)
    with contextlib.redirect_stderr(open(os.devnull, "w")):
        report(lm, rows, few, deltas, config, args)


def report(lm, rows, few, deltas, config, args) -> None:
    print(
        f"evaluation of {lm.name}, {lm.layers} layers, width {lm.width}, on {lm.device}, {args.threads} threads: "
        f"{len(rows)} records, oracle {len(few)} of them",
        flush=True,
    )
    print(differences(lm, few.head(4), deltas, config), flush=True)
    totals = np.zeros((2, args.rounds, 2))
    for what in ("probabilities", "texts"):
        times = np.zeros((2, args.rounds, 2))  # oracle and engine; rounds; wall, cpu: seconds a record
        for i in range(args.rounds):
            *times[0, i], _ = timed(lm, slow, lm, few, deltas, what, TOP_K)
            times[0, i] /= len(few)
            *times[1, i], _ = timed(lm, fast, lm, rows, deltas, what, TOP_K, config)
            times[1, i] /= len(rows)
        totals += times
        print(line(what, times), flush=True)
        if not args.no_operations:
            slow_ops = operations(slow, lm, few, deltas, what, TOP_K) / len(few)
            fast_ops = operations(fast, lm, rows, deltas, what, TOP_K, config) / len(rows)
            print(
                f"  operations a record: oracle {slow_ops / 1e9:.2f} G, engine {fast_ops / 1e9:.2f} G, ratio "
                f"{slow_ops / fast_ops:.2f}; engine {fast_ops / median(times[1, :, 0]) / 1e9:.0f} G/s",
                flush=True,
            )
    print(line("both", totals))


def line(what: str, times: np.ndarray) -> str:
    oracle, engine = (np.median(one, axis=0) for one in times)
    single = sorted(a / b for a, b in zip(times[0, :, 0], times[1, :, 0]))
    return (
        f"{what}: oracle {oracle[0]:.4f} s, engine {engine[0]:.4f} s a record, ratio of medians "
        f"{oracle[0] / engine[0]:.1f} "
        f"({single[0]:.1f} .. {single[-1]:.1f}); CPU seconds {oracle[1]:.4f} and {engine[1]:.4f}, "
        f"ratio {oracle[1] / engine[1]:.1f}"
    )


if __name__ == "__main__":
    main()
