"""Causal tracing against its oracle: the same prompts in turn in one process, three sites; prints the ratio of medians.

    python tests/bench/bench_trace.py [--prompts 6] [--threads 2] [--samples 10] [--layers 8] [--width 128]

The model is random, with the shape of the embedded default. The prompts have 8 and 9 tokens; as in that default, every
other one starts with the subject, the others have three tokens before it (restoring those cannot change anything).
"""

import argparse
import sys
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from types import SimpleNamespace

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "lib"))
import oracle  # noqa: E402
import toy  # noqa: E402
from engram import noise, sweep, tokens, tracing  # noqa: E402

SUBJECT, TEMPLATES = " James Martin James", ("{} is in is in James", " is in is{} in is in")


def slow(lm, row, corruption, config, width):
    """Scores per site as the engine's trace_prompt returns them, one hooked forward per restoration."""
    ids = tokens.encode(lm.tokenizer, row.prompt)
    begin, end = tokens.subject_range(lm.tokenizer, row.prompt, row.subject)
    drawn = torch.from_numpy(corruption.draw(config.samples, end - begin, lm.width, config.stream,
                                             (0, lm.name, "trace", row.prompt_id)))
    return {site: [[oracle.score(lm, ids, drawn, begin, row.answer_id, site, token, layer, width)
                    for layer in range(lm.layers)] for token in range(len(ids))] for site in config.sites}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("prompts", 6), ("threads", 2), ("samples", 10), ("layers", 8), ("width", 128), ("window", 2),
                          ("batch-rows", tracing.Config.batch_rows)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    lm = toy.lm("gpt2", vocabulary=1500, layers=args.layers, width=args.width, std=0.1)
    config = tracing.Config(args.prompts, args.samples, sweep.SITES[:3], batch_rows=args.batch_rows)
    corruption = noise.Noise("std", 0.3)
    times, worst = {"oracle": [], "engine": []}, 0.0
    for i in range(args.prompts + 1):  # the first one warms up
        prompt = TEMPLATES[i % 2].format(SUBJECT)
        row = SimpleNamespace(prompt=prompt, subject=SUBJECT, prompt_id=i, answer_id=5, answer="")
        begin = perf_counter()
        expected = slow(lm, row, corruption, config, args.window)
        middle = perf_counter()
        found, _ = tracing.trace_prompt(lm, row, corruption, config, args.window, 0)
        times["oracle"].append(middle - begin)
        times["engine"].append(perf_counter() - middle)
        worst = max(worst, *(abs(found[site] - expected[site]).max() for site in config.sites))
    oracle_s, engine_s = times["oracle"][1:], times["engine"][1:]
    ratios = quantiles([a / b for a, b in zip(oracle_s, engine_s)], n=4)
    print(f"trace: oracle {median(oracle_s):.3f} s, engine {median(engine_s):.3f} s a prompt, ratio of medians "
          f"{median(oracle_s) / median(engine_s):.1f} (quartiles of single ratios {ratios[0]:.1f} .. {ratios[2]:.1f}), "
          f"largest difference of a score {worst:.1e}, {args.threads} threads")


if __name__ == "__main__":
    main()
