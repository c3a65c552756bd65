"""Causal tracing against its oracle: the same prompts in turn in one process, three sites; prints the ratio of medians.

    python tests/bench/bench_trace.py [--rounds 5] [--threads 2] [--samples 10] [--layers 8] [--width 128]

The model is random, with the shape of the embedded default. A round is four prompts of 8 and 9 tokens; as in that
default, every other one starts with the subject, the others have three tokens before it (restoring those cannot change
anything). Both sides may use `threads` cores: the oracle inside its operations, the engine for prompts side by side.
Also printed: the operations of both sides' matrix products, and how fast each does them.
"""

import argparse
from statistics import median, quantiles
from time import perf_counter

import pandas as pd
import tracing_costs as costs  # puts tests/lib on the path

import toy  # isort: skip
from engram.model import runtime
from engram.tracing import causal_trace, noise, restoration

SUBJECT, TEMPLATES = " James Martin James", ("{} is in is in James", " is in is{} in is in")
PROMPTS = 4


def prompts(first: int) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "prompt_id": first + i,
                "prompt": TEMPLATES[i % 2].format(SUBJECT),
                "subject": SUBJECT,
                "answer": "",
                "answer_id": 5,
                "correct": True,
            }
            for i in range(PROMPTS)
        ]
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (
        ("rounds", 5),
        ("threads", 2),
        ("samples", 10),
        ("layers", 8),
        ("width", 128),
        ("window", 2),
        ("batch", 1),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args(argv)
    runtime.start(runtime.Runtime(args.threads, "cpu"))
    lm = toy.lm("gpt2", vocabulary=1500, layers=args.layers, width=args.width, std=0.1)
    config = causal_trace.Config(PROMPTS, args.samples, restoration.SITES[:3], batch=args.batch)
    corruption = noise.Noise("std", 0.3)
    causal_trace.trace(lm, prompts(0), corruption, config, args.window, 0)  # warms up
    oracle_s, engine_s, worst = [], [], 0.0
    for i in range(args.rounds):
        work = causal_trace.prepared(
            lm, prompts(i * PROMPTS), config, args.window
        )  # once in a run, however many prompts
        begin = perf_counter()
        expected = costs.slow(lm, work.prompts.values(), corruption, config, args.window)
        middle = perf_counter()
        found, _ = causal_trace.computed(lm, work, corruption, config, 0)
        engine_s.append((perf_counter() - middle) / PROMPTS)
        oracle_s.append((middle - begin) / PROMPTS)
        worst = max(worst, (found["score"] - expected).abs().max())
    ratios = quantiles([a / b for a, b in zip(oracle_s, engine_s)], n=4)
    print(
        f"trace: oracle {median(oracle_s):.3f} s, engine {median(engine_s):.3f} s a prompt, ratio of medians "
        f"{median(oracle_s) / median(engine_s):.1f} (quartiles of single ratios {ratios[0]:.1f} .. {ratios[2]:.1f}), "
        f"largest difference of a score {worst:.1e}, {args.threads} threads"
    )
    slow, fast = (
        count(lm, work.prompts.values(), corruption, config, args.window) / 1e9
        for count in (costs.oracle_flop, costs.engine_flop)
    )
    print(
        f"trace: matrix products of a prompt: oracle {slow:.1f} GFLOP at {slow / median(oracle_s):.0f} GFLOP/s, engine "
        f"{fast:.2f} at {fast / median(engine_s):.0f}; {slow / fast:.1f} times fewer, the ratio if "
        "both ran at one speed"
    )


if __name__ == "__main__":
    main()
