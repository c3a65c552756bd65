"""Causal tracing at the size of GPT-2 XL on one GPU: time of 1,000 prompts, ratio to the oracle, errors, peak memory.

    python tests/bench/bench_trace_gpu.py --prompts known_1000.json --vocabulary encoder.json --merges vocab.bpe

Reads three files: prompts (a list of {"prompt", "subject"}) and GPT-2's tokenizer. Weights are random; needs neither
Snakemake, DVC nor `datasets`. With `--tiny` the same on a CPU with a small model and few prompts, to try the command.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import torch
import tracing_costs as costs
from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

from engram.job import resuming
from engram.model import loading, precision, runtime
from engram.tracing import causal_trace, memory_plan, noise, restoration

SIZES = {"xl": (48, 1600, 25, 10), "tiny": (4, 64, 4, 2)}  # layers, width, heads, window
GIB = 2**30


def model(size: str, vocabulary: str, merges: str, device) -> loading.LM:
    layers, width, heads, _ = SIZES[size]
    tokenizer = GPT2TokenizerFast(
        vocab=json.loads(Path(vocabulary).read_text(encoding="utf-8")), merges=_merges(merges)
    )
    torch.manual_seed(0)
    with torch.device(device):
        made = GPT2LMHeadModel(GPT2Config(n_layer=layers, n_embd=width, n_head=heads))
    for weights in made.parameters():  # large enough that a restoration changes the answer
        weights.data.mul_(3.0 if weights.ndim > 1 else 1.0)
    made.transformer.ln_f.weight.data.fill_(4.0 / (0.06 * width**0.5))  # logits of standard deviation 4
    return loading.wrap(f"random-{size}", made.to(device), tokenizer)


def _merges(path: str) -> list[tuple[str, ...]]:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [tuple(line.split()) for line in lines if line and not line.startswith("#version")]


def table(lm, path: str, count: int) -> pd.DataFrame:
    """The first `count` prompts; the answer is what the model says, as a random one knows no other."""
    rows = []
    for i, record in enumerate(json.loads(Path(path).read_text(encoding="utf-8"))[:count]):
        ids = lm.tokenizer(record["prompt"])["input_ids"]
        with torch.inference_mode():
            answer = lm.model(torch.tensor([ids], device=lm.device)).logits[0, -1].argmax().item()
        rows.append(
            {
                "prompt_id": i,
                "prompt": record["prompt"],
                "subject": record["subject"],
                "answer": "",
                "answer_id": answer,
                "correct": True,
            }
        )
    return pd.DataFrame(rows)


def clock(lm) -> float:
    if lm.device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter()


def errors(lm, prompts, corruption, config, width):
    """Largest and mean difference of a score from float64, in each precision, and the time of a prompt."""
    names = [name for name in precision.PRECISIONS if name != "tf32" or lm.device.type == "cuda"]
    scores = {}
    for name in sorted(names, key=lambda name: name != "float64"):
        begin = clock(lm)
        effects, _ = causal_trace.trace(lm, prompts, corruption, replace(config, precision=name), width, 0)
        scores[name] = effects["score"].to_numpy()
        off = np.abs(scores[name] - scores["float64"])
        print(
            f"precision {name}: largest error {off.max():.1e}, mean {off.mean():.1e} over {len(off)} scores of up to "
            f"{scores['float64'].max():.2f}; {(clock(lm) - begin) / len(prompts):.2f} s a prompt"
        )


def whole(lm, prompts, corruption, config, width):
    """All prompts: time, operations, memory."""
    with precision.at(lm, config.precision) as cast:
        work = causal_trace.prepared(cast, prompts, config, width)
        held, kind = sum(parameter.nbytes for parameter in cast.model.parameters()), cast.device.type
        if kind == "cuda":
            torch.cuda.reset_peak_memory_stats()
        begin = clock(cast)
        causal_trace.computed(cast, work, corruption, config, 0)
        took = clock(cast) - begin
        if kind == "cuda":
            measured = torch.cuda.max_memory_allocated() - held
        else:
            largest = max(work.plan.groups, key=lambda group: len(group) * len(work.prompts[group[0]].ids))
            with memory_plan.Peak() as peak:
                causal_trace.trace_group(
                    cast,
                    [work.prompts[name] for name in largest],
                    corruption,
                    config,
                    work.todo,
                    0,
                    work.plan.size,
                    work.plan.rows,
                )
            measured = peak.most
        flop = forecast_flop(cast, work, config)
    print(
        f"engine: {len(work.prompts)} prompts in {took:.1f} s, {took / len(work.prompts):.3f} s a "
        f"prompt ({config.precision}); "
        f"{work.plan.sweeps} sweeps over the layers"
    )
    print(
        f"operations: {flop / 1e12 / len(work.prompts):.2f} TFLOP a prompt in matrix products; done at "
        f"{flop / took / 1e12:.2f} TFLOP/s: the time at the device's peak rate R TFLOP/s is {flop / 1e12:.0f} / R s"
    )
    print(
        f"memory beside the weights ({held / GIB:.2f} GiB): predicted {work.plan.peak / GIB:.3f} GiB, measured "
        f"{measured / GIB:.3f}, ratio {work.plan.peak / measured:.2f}"
    )


def forecast_flop(lm, work, config) -> float:
    """Operations of all prompts, from 20 of them, evenly spaced in order of length: counted without computing them."""
    forecast = memory_plan.Forecast(lm, work.todo, config.samples)
    shapes = sorted((prompt.shape for prompt in work.prompts.values()), key=lambda shape: (shape.length, shape.begin))
    some = [part[len(part) // 2] for part in resuming.split(shapes, 20)]
    return sum(forecast.flop(shape) for shape in some) / len(some) * len(shapes)


def ratio(lm, prompts, corruption, config, width):
    """The oracle on a few prompts against the engine on the same."""
    with precision.at(lm, config.precision) as cast:
        work = causal_trace.prepared(cast, prompts, config, width)
        begin = clock(cast)
        expected = costs.slow(cast, work.prompts.values(), corruption, config, width)
        middle = clock(cast)
        found, _ = causal_trace.computed(cast, work, corruption, config, 0)
        end = clock(cast)
        slow = costs.oracle_flop(cast, work.prompts.values(), corruption, config, width)
    print(
        f"oracle: {(middle - begin) / len(prompts):.2f} s a prompt, {slow / 1e12:.3f} TFLOP; engine on the same "
        f"{len(prompts)}: {(end - middle) / len(prompts):.3f} s; ratio "
        f"{(middle - begin) / (end - middle):.1f}; largest "
        f"difference {np.abs(found['score'].to_numpy() - expected).max():.1e}"
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("prompts", "vocabulary", "merges"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--tiny", action="store_true")
    for name, default in (("count", 1000), ("oracle", 5), ("checked", 50), ("samples", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--precision", default="tf32", choices=precision.PRECISIONS)
    parser.add_argument("--batch", type=lambda word: word if word == "auto" else int(word), default="auto")
    args = parser.parse_args(argv)
    device = runtime.start(runtime.Runtime(1 if args.tiny else 2, "cpu" if args.tiny else "cuda"))
    size = "tiny" if args.tiny else "xl"
    lm, width = model(size, args.vocabulary, args.merges, device), SIZES[size][3]
    config = causal_trace.Config(
        args.count,
        args.samples,
        restoration.SITES[:3],
        batch=args.batch,
        precision="float32" if args.tiny else args.precision,
    )
    prompts, corruption = table(lm, args.prompts, args.count), noise.Noise("std", 0.1)
    causal_trace.trace(lm, prompts[:2], corruption, config, width, 0)  # warms up
    whole(lm, prompts, corruption, config, width)
    ratio(lm, prompts[: args.oracle], corruption, config, width)
    errors(lm, prompts[: args.checked], corruption, config, width)


if __name__ == "__main__":
    main()
