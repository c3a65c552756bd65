"""Causal tracing of many prompts (ROME Sec. 2): tables of p(answer) with each restoration, and of the prompts traced.

One group of prompts: its passes are in engram.tracing.passes, their restorations in engram.tracing.restoration. Which
prompts form a group: engram.tracing.memory_plan. The noise: engram.tracing.noise.
Shapes: G prompts of one length T, S noise samples, N corrupted tokens, L layers, d width.
"""

import mmap
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from engram.job import progress, resuming
from engram.model import precision, tokens
from engram.model.adapters import Adapter
from engram.model.halving import halving
from engram.model.loading import LM
from engram.model.workers import workers
from engram.settings.sections import Trace as Config
from engram.tracing import memory_plan, noise, restoration
from engram.tracing.passes import clean_and_corrupted

NOT_KEPT = resuming.Store()


def selected(lm: LM, prompts: pd.DataFrame, config: Config) -> pd.DataFrame:
    """The first `config.prompts` rows that the model answers correctly, in the table's order. ValueError if none is.

    Prompts with fewer than `config.extra_tokens` tokens after the subject are passed over.
    PAPER: ROME App. B.1 traces prompts that the model predicts correctly; the number that passes is the tables' own.
    """
    known = prompts[prompts["correct"]]
    if config.extra_tokens:
        ends = [tokens.subject_range(lm.tokenizer, row.prompt, row.subject)[1] for row in known.itertuples()]
        lengths = [len(tokens.prompt(lm.tokenizer, prompt)) for prompt in known["prompt"]]
        known = known[np.subtract(lengths, ends) >= config.extra_tokens]
    if known.empty:
        also = f" and has {config.extra_tokens} tokens after its subject" if config.extra_tokens else ""
        raise ValueError(f"none of the {len(prompts)} prompts is answered correctly{also}: nothing to trace")
    return known.head(config.prompts)


class KnownPrompt(Protocol):
    """A row of the table `prompts` of stage `known`, as `itertuples` gives it."""

    prompt_id: int
    prompt: str
    subject: str
    answer: str
    answer_id: int


@dataclass(frozen=True)
class Prompt:
    """One prompt to trace: its row of stage `known`, token ids, the subject's tokens [begin, end), those restored."""

    row: KnownPrompt
    ids: tuple[int, ...]
    begin: int
    end: int
    tokens: tuple[int, ...]

    @property
    def shape(self) -> memory_plan.Shape:
        """What the memory for tracing the prompt depends on."""
        return memory_plan.Shape(len(self.ids), self.begin, self.tokens)


def prepare(lm: LM, row: KnownPrompt, config: Config) -> Prompt:
    """The Prompt of one row of stage `known`. ValueError if fewer tokens follow the subject than are to be corrupted.

    DIFFERS: with extra_tokens the original code moves the subject's end; here the subject stays the subject.
    """
    ids = tokens.prompt(lm.tokenizer, row.prompt)
    begin, end = tokens.subject_range(lm.tokenizer, row.prompt, row.subject)
    if end + config.extra_tokens > len(ids):
        raise ValueError(
            f"prompt {row.prompt_id} {row.prompt!r}: trace.extra_tokens is {config.extra_tokens}, but "
            f"only {len(ids) - end} tokens follow the subject"
        )
    restored = range(len(ids)) if config.tokens == "all" else [end - 1]
    return Prompt(row, tuple(ids), begin, end, tuple(restored))


def trace(
    lm: LM,
    prompts: pd.DataFrame,
    corruption: noise.Noise,
    config: Config,
    width: int,
    seed: int,
    store: resuming.Store = NOT_KEPT,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables effects and prompts of the first `config.prompts` correct rows of `prompts` (stage `known`), traced.

    effects (model, prompt_id, site, token, layer, score), score: p(answer) with the restoration, mean over samples.
    prompts (model, prompt_id, prompt, subject, answer, tokens, subject_begin, subject_end, clean, corrupted), the last
    two p(answer). Windows are `width` layers wide. `store` keeps what is finished.

    What cannot change a bit of a row: the order of the prompts, the number of shards and of threads, and where a run
    was interrupted and resumed. With one prompt at a time (a CPU's default) the other prompts cannot either, as long as
    all restorations and as many tokens as are wanted fit into memory. What changes the shapes of the products, and with
    them the last bits: `batch` and which prompts run together, the sites and samples (on a CPU they decide which tokens
    share a sweep), memory that is too small for that or a GPU's free memory, the device, the libraries.
    """
    with precision.at(lm, config.precision) as cast:
        work = prepared(cast, prompts, config, width, store)
        return computed(cast, work, corruption, config, seed, store)


@dataclass(frozen=True)
class Work:
    """What is to be traced: Prompts by prompt_id in the order of the tables, the restorations, the groups."""

    prompts: dict[int, Prompt]
    todo: list[restoration.Restoration]
    plan: memory_plan.Plan


def prepared(lm: LM, prompts: pd.DataFrame, config: Config, width: int, store: resuming.Store = NOT_KEPT) -> Work:
    """The Work of tracing `prompts`: which prompts, which restorations, what runs together. Arguments as for `trace`.

    Says on stderr how many prompts there are and what they will take. ValueError if none can be traced, if a prompt_id
    comes twice, or if one prompt does not fit into memory.
    """
    chosen = selected(lm, prompts, config)
    ready = {row.prompt_id: prepare(lm, row, config) for row in chosen.itertuples()}
    if len(ready) < len(chosen):
        raise ValueError(f"the table of prompts holds {len(chosen) - len(ready)} prompt_id twice")
    todo = restoration.restorations(config.sites, width, lm.layers)
    on_cpu = lm.device.type == "cpu"
    threads = torch.get_num_threads() if on_cpu else 1
    most = config.batch if isinstance(config.batch, int) else 1 if on_cpu else memory_plan.GPU_PROMPTS
    limit = store.first_value("budget", memory_plan.budget(lm.device, config.memory, threads))
    forecast = memory_plan.Forecast(lm, todo, config.samples)
    plan = memory_plan.plan(forecast, {name: prompt.shape for name, prompt in ready.items()}, most, limit)
    print(
        f"trace: {len(chosen)} of {config.prompts} prompts asked for, {len(prompts)} in the table; "
        f"{_memory(lm, threads * plan.peak, threads * limit)}; in one sweep over the layers {plan.size} of "
        f"{len(todo)} restorations of up to {plan.tokens} tokens and {max(map(len, plan.groups))} prompts, "
        f"{plan.sweeps} sweeps in all",
        file=sys.stderr,
    )
    return Work(ready, todo, plan)


def _memory(lm: LM, peak: int, limit: int) -> str:
    """The predicted bytes of tensors, those given, those of weights; on a CPU also the size of the process."""
    weights = sum(parameter.nbytes for parameter in lm.model.parameters())
    tensors = (
        f"predicted peak memory {peak / 2**30:.3f} GiB of tensors ({limit / 2**30:.3g} GiB are given), beside "
        f"{weights / 2**30:.3f} GiB of weights"
    )
    resident = Path("/proc/self/statm")
    if lm.device.type != "cpu" or not resident.exists():  # it exists on Linux
        return tensors
    process = int(resident.read_text().split()[1]) * mmap.PAGESIZE + peak
    return f"{tensors}; the whole process {process / 2**30:.3f} GiB"


def computed(
    lm: LM, work: Work, corruption: noise.Noise, config: Config, seed: int, store: resuming.Store = NOT_KEPT
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables effects and prompts of `trace` for prepared work, `lm` in the precision that is wanted."""
    groups = [[work.prompts[name] for name in group] for group in work.plan.groups]
    slices = resuming.split(groups, store.count)
    done = sum(len(group) for i, part in enumerate(slices) if store.has(i) for group in part)
    with workers(lm.device) as pool, progress.bar(None, f"trace {lm.name}", "prompt", len(work.prompts), done) as bar:

        def compute(part: Sequence[list[Prompt]]) -> dict[str, pd.DataFrame]:
            tasks = [pool.submit(_group, lm, group, corruption, config, work, seed) for group in part]
            traced = []
            for task in tasks:
                traced += task.result()
                bar.update(len(task.result()))
            return {
                "effects.parquet": pd.concat([effects for effects, _ in traced], ignore_index=True),
                "prompts.parquet": pd.DataFrame([about for _, about in traced]),
            }

        tables = list(resuming.parts(store, groups, compute))
    order = {prompt_id: i for i, prompt_id in enumerate(work.prompts)}
    effects, about = (
        pd.concat([table[f"{name}.parquet"] for table in tables]).sort_values(
            "prompt_id", key=lambda ids: ids.map(order), kind="stable", ignore_index=True
        )
        for name in ("effects", "prompts")
    )
    return effects, about


def _group(
    lm: LM, group: list[Prompt], corruption: noise.Noise, config: Config, work: Work, seed: int
) -> list[tuple[pd.DataFrame, dict]]:
    """The rows of effects and of prompts of each prompt of a group; in parts if memory falls short after all."""

    def traced(part: Sequence[Prompt]) -> list[tuple[dict, dict]]:
        return trace_group(lm, part, corruption, config, work.todo, seed, work.plan.size, work.plan.rows)

    return [
        (_rows(lm.name, about["prompt_id"], scores), about)
        for part in halving(traced, group, len(group), "prompt")
        for scores, about in part
    ]


@torch.inference_mode()
def trace_group(
    lm: LM,
    group: Sequence[Prompt],
    corruption: noise.Noise,
    config: Config,
    todo: Sequence[restoration.Restoration],
    seed: int,
    size: int | None = None,
    rows: int | None = None,
) -> list[tuple[dict, dict]]:
    """Scores [T, L] per site and the row of the table `prompts`, of each prompt of a group of one length, in its order.

    A score is NaN where it was not asked for. In one sweep over the layers are `size` of the restorations `todo`, at
    the tokens of `rows` positions; None: all.
    """
    order = sorted(range(len(group)), key=lambda i: group[i].begin)
    prompts = [group[i] for i in order]
    length = len(prompts[0].ids)
    adapter = Adapter(lm, length)
    embeddings = torch.stack([corrupted(adapter, prompt, corruption, config, seed) for prompt in prompts])
    answers = torch.tensor([int(prompt.row.answer_id) for prompt in prompts], device=lm.device)
    passes = clean_and_corrupted(adapter, embeddings, tuple(prompt.begin for prompt in prompts), answers)
    starts = restoration.starting_states(passes, todo)
    swept = sorted({token for prompt in prompts for token in prompt.tokens})
    chances = restoration.restore(passes, swept, todo, starts, size or len(todo), rows or sys.maxsize)
    means = chances.mean(-1).cpu().numpy()
    unrestored = torch.stack((passes.probability[:, 0], passes.probability[:, 1:].mean(1))).tolist()
    traced = {}
    for i, prompt in enumerate(prompts):
        scores: dict[str, np.ndarray] = {site: np.full((length, lm.layers), np.nan) for site in config.sites}
        for at, token in enumerate(swept):
            for restored, mean in zip(todo, means[at, :, i] if token in prompt.tokens else ()):
                scores[restored.site][token, list(restored.layers)] = mean
        clean, noisy = (values[i] for values in unrestored)
        traced[order[i]] = scores, _about(lm, prompt) | {"clean": clean, "corrupted": noisy}
    return [traced[i] for i in range(len(group))]


def _about(lm: LM, prompt: Prompt) -> dict:
    """The row of a prompt in the table `prompts`, without probabilities."""
    row = {name: getattr(prompt.row, name) for name in ("prompt_id", "prompt", "subject", "answer")}
    pieces = [tokens.decode_following(lm.tokenizer, [i]) for i in prompt.ids]
    subject = {"subject_begin": prompt.begin, "subject_end": prompt.end}
    return {"model": lm.name, **row, "tokens": pieces, **subject}


def corrupted(adapter: Adapter, prompt: Prompt, corruption: noise.Noise, config: Config, seed: int) -> Tensor:
    """Token embeddings [1 + S, T, d]: row 0 clean, the others with noise [S, N, d] on the subject and the extra tokens.

    PAPER: the sum is taken in float64 and then rounded to the model's dtype, as in the original code.
    DIFFERS: the original's corrupted baseline adds the noise even when asked to replace; here it replaces too.
    """
    key = (seed, adapter.lm.name, "trace", prompt.row.prompt_id)
    stop = prompt.end + config.extra_tokens
    drawn = corruption.draw(config.samples, stop - prompt.begin, adapter.lm.embed_width, config.stream, key)
    clean = adapter.embed(torch.tensor(prompt.ids, device=adapter.lm.device))
    rows = clean.repeat(config.samples + 1, 1, 1)
    corrupt = rows[1:, prompt.begin : stop]
    added = torch.from_numpy(drawn).to(clean.device)
    corrupt.copy_(added if config.replace else corrupt.double() + added)
    return rows


def _rows(model: str, prompt_id: int, scores: dict[str, np.ndarray]) -> pd.DataFrame:
    """The rows of the table `effects` of scores [T, L] per site, without those that were not asked for."""
    frames = []
    for site, table in scores.items():
        token, layer = np.nonzero(~np.isnan(table))
        keys = {"model": model, "prompt_id": prompt_id, "site": site, "token": token, "layer": layer}
        frames.append(pd.DataFrame(keys | {"score": table[token, layer]}))
    return pd.concat(frames, ignore_index=True)
