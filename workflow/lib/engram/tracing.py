"""Causal tracing of many prompts (ROME Sec. 2): tables of p(answer) with each restoration, and of the prompts traced.

Shapes: S noise samples, T tokens, L layers, d width.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from engram import noise, progress, sweep
from engram.adapters import Adapter
from engram.models import LM
from engram.tokens import encode, subject_range

TOKENS = ("all", "subject_last")


@dataclass(frozen=True)
class Config:
    """Section `trace` of params.yaml."""

    prompts: int  # how many of the prompts that the model answers correctly; fewer are taken if there are fewer
    samples: int  # noise samples per prompt
    sites: tuple  # of sweep.SITES
    stream: str = "counter"  # of noise.STREAMS
    replace: bool = False  # the noise takes the place of the embeddings instead of being added
    extra_tokens: int = 0  # tokens after the subject that are corrupted too
    tokens: str = "all"  # all, or only the last subject token (subject_last)
    batch_rows: int = 4096  # token rows computed at a time: memory and speed, not results

    def __post_init__(self):
        unknown = [site for site in self.sites if site not in sweep.SITES]
        if unknown or not self.sites:
            raise ValueError(f"trace.sites: {unknown or 'empty'}; expected some of {sweep.SITES}")
        if self.stream not in noise.STREAMS or self.tokens not in TOKENS:
            raise ValueError(f"trace.stream is {self.stream!r}, expected one of {noise.STREAMS}; "
                             f"trace.tokens is {self.tokens!r}, expected one of {TOKENS}")
        if min(self.prompts, self.samples) < 1 or self.extra_tokens < 0:
            raise ValueError(f"trace.prompts {self.prompts} and trace.samples {self.samples} must be positive, "
                             f"trace.extra_tokens {self.extra_tokens} must not be negative")


def selected(prompts: pd.DataFrame, config: Config) -> pd.DataFrame:
    """The first `config.prompts` rows that the model answers correctly, in the table's order. ValueError if none is.

    PAPER: ROME App. B.1 traces prompts that the model predicts correctly; the number that passes is the tables' own.
    """
    known = prompts[prompts["correct"]].head(config.prompts)
    if known.empty:
        raise ValueError(f"none of the {len(prompts)} prompts is answered correctly: nothing to trace")
    return known


def trace(lm: LM, prompts: pd.DataFrame, corruption: noise.Noise, config: Config, width: int, seed: int):
    """Trace the first `config.prompts` correct rows of `prompts` (stage `known`); windows are `width` layers wide.

    Returns the tables effects (model, prompt_id, site, token, layer, score) and prompts (model, prompt_id, prompt,
    subject, answer, tokens, subject_begin, subject_end, clean, corrupted). score: p(answer) with the restoration, mean
    over samples. Each prompt is computed alone: neither the others nor their order can change a bit of its rows.
    """
    chosen = selected(prompts, config)
    print(f"trace: {len(chosen)} of {config.prompts} prompts asked for, {len(prompts)} in the table", file=sys.stderr)
    effects, traced = [], []
    with _workers(lm.device) as pool:
        results = pool.map(lambda row: trace_prompt(lm, row, corruption, config, width, seed), chosen.itertuples())
        for scores, about in progress.bar(results, f"trace {lm.name}", "prompt", len(chosen)):
            effects.append(_rows(lm.name, about["prompt_id"], scores))
            traced.append(about)
    return pd.concat(effects, ignore_index=True), pd.DataFrame(traced)


@contextmanager
def _workers(device: torch.device):
    """A pool that computes one prompt per thread, each on one core: no waiting between cores, and no number depends on
    how many there are. A GPU gets one thread."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads if device.type == "cpu" else 1)
    torch.set_num_threads(1 if device.type == "cpu" else threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


@torch.inference_mode()
def trace_prompt(lm: LM, row, corruption: noise.Noise, config: Config, width: int, seed: int) -> tuple[dict, dict]:
    """One prompt (a row of stage `known`): scores [T, L] per site, NaN where not asked for, and its row of the table.

    DIFFERS: with extra_tokens the original code moves the subject's end; here the subject stays the subject. Its
    corrupted baseline adds the noise even when asked to replace; here both do the same.
    """
    ids = encode(lm.tokenizer, row.prompt)
    begin, end = subject_range(lm.tokenizer, row.prompt, row.subject)
    if end + config.extra_tokens > len(ids):
        raise ValueError(f"prompt {row.prompt_id} {row.prompt!r}: trace.extra_tokens is {config.extra_tokens}, but "
                         f"only {len(ids) - end} tokens follow the subject")
    key = (seed, lm.name, "trace", row.prompt_id)
    drawn = corruption.draw(config.samples, end + config.extra_tokens - begin, lm.width, config.stream, key)
    adapter = Adapter(lm, len(ids))
    embeddings = _corrupted(adapter, torch.tensor(ids, device=lm.device), drawn, begin, config.replace)
    runs = sweep.run(adapter, embeddings, begin, int(row.answer_id))
    todo = sweep.patches(config.sites, width, lm.layers)
    starts = sweep.starts(runs, todo)
    tokens = range(len(ids)) if config.tokens == "all" else [end - 1]
    scores = {site: np.full((len(ids), lm.layers), np.nan) for site in config.sites}
    for token in tokens:
        means = sweep.restore(runs, token, todo, starts, config.batch_rows).mean(1).tolist()
        for patch, mean in zip(todo, means):
            scores[patch.site][token, list(patch.layers)] = mean
    about = {"model": lm.name, "prompt_id": row.prompt_id, "prompt": row.prompt, "subject": row.subject,
             "answer": row.answer, "tokens": [lm.tokenizer.decode([i]) for i in ids], "subject_begin": begin,
             "subject_end": end, "clean": runs.probability[0].item(), "corrupted": runs.probability[1:].mean().item()}
    return scores, about


def _corrupted(adapter: Adapter, ids: torch.Tensor, drawn: np.ndarray, begin: int, replace: bool) -> torch.Tensor:
    """Token embeddings [1 + S, T, d]: row 0 clean, the others with the noise [S, N, d] on the tokens from `begin` on.

    PAPER: the sum is taken in float64 and then rounded to the model's dtype, as in the original code.
    """
    clean = adapter.embed(ids)
    rows = clean.repeat(len(drawn) + 1, 1, 1)
    place = rows[1:, begin : begin + drawn.shape[1]]
    added = torch.from_numpy(drawn).to(clean.device)
    place.copy_(added if replace else place.double() + added)
    return rows


def _rows(model: str, prompt_id: int, scores: dict) -> pd.DataFrame:
    """Scores [T, L] per site as rows, without those that were not asked for."""
    frames = []
    for site, table in scores.items():
        token, layer = np.nonzero(~np.isnan(table))
        frames.append(pd.DataFrame({"model": model, "prompt_id": prompt_id, "site": site, "token": token,
                                    "layer": layer, "score": table[token, layer]}))
    return pd.concat(frames, ignore_index=True)
