"""What the benchmarks of tracing share: the oracle over a table of prompts, and counts of floating-point operations."""

import sys
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import tracing_oracle as oracle
from engram.tracing import causal_trace, restoration


def restorations(lm, prompt, config):
    """(site, token, layer) in the order of the engine's table."""
    return [(site, token, layer) for site in config.sites for token in prompt.tokens for layer in range(lm.layers)]


def corrupted(lm, prompt, corruption, config):
    """Arguments of the oracle: ids, noise [S, N, d], first corrupted token, answer."""
    key = (0, lm.name, "trace", prompt.row.prompt_id)
    drawn = corruption.draw(config.samples, prompt.end - prompt.begin, lm.width, config.stream, key)
    return lm, list(prompt.ids), torch.from_numpy(drawn), prompt.begin, int(prompt.row.answer_id)


def slow(lm, prompts, corruption, config, width) -> list[float]:
    """Scores in the order of the engine's table, one hooked forward per restoration."""
    found = []
    for prompt in prompts:
        at = corrupted(lm, prompt, corruption, config)
        for one in restorations(lm, prompt, config):
            found.append(oracle.score(*at, *one, width, held=oracle.kept(*at, one[0])))
    return found


def oracle_flop(lm, prompts, corruption, config, width) -> float:
    """Operations of the oracle's matrix products, per prompt: one forward is counted, the others have the same."""
    total = 0
    for prompt in prompts:
        with FlopCounterMode(display=False) as counter:
            oracle.probabilities(*corrupted(lm, prompt, corruption, config))
        total += counter.get_total_flops() * len(restorations(lm, prompt, config))
    return total / len(prompts)


def engine_flop(lm, prompts, corruption, config, width) -> float:
    """Operations of the engine's matrix products, per prompt."""
    todo = restoration.restorations(config.sites, width, lm.layers)
    with FlopCounterMode(display=False) as counter:
        for prompt in prompts:
            causal_trace.trace_group(lm, [prompt], corruption, config, todo, 0)
    return counter.get_total_flops() / len(prompts)
