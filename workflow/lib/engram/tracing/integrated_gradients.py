"""Integrated gradients: which activations an answer rests on, by slopes instead of by restoration.

Sundararajan et al. 2017; ROME App. B, Fig. 16. By restoration: engram.tracing.causal_trace.

The activations of one site in one layer, at all tokens together, move on a straight line from their values in the
corrupted pass to those in the clean pass; all before that layer, and all that goes around the site, is as in the clean
pass. p(answer) there is f(share), and the attribution of a token is its part of the integral of f's slope: those of all
tokens sum to f(1) - f(0), the clean probability minus the one with the corrupted activations. Every noise sample has
its own line; attributions are means. PAPER: the paper says 50 steps of Gauss-Legendre quadrature and does not say where
the line begins.

Shapes: S noise samples, T tokens, K points of a line, d width, L layers.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from engram.job import progress
from engram.model import hooks
from engram.model.adapters import Adapter
from engram.model.halving import ChunkLimit, halving
from engram.model.loading import LM
from engram.settings.sections import Gradients as Config
from engram.tracing import causal_trace, noise, selection

MODULES = {"hidden": "block", "mlp": "mlp", "attn": "attn"}  # site -> the module whose output it is


def attributed(
    lm: LM,
    known: pd.DataFrame,
    traced: pd.DataFrame,
    corruption: noise.Noise,
    config: Config,
    trace: causal_trace.Config,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables attributions and prompts of some prompts of `traced` (stage `trace`), chosen by engram.tracing.selection.

    attributions (model, prompt_id, site, token, layer, attribution, baseline), in units of probability; baseline: f(0),
    the same for all tokens of a layer. prompts: as of stage `trace`, clean and corrupted computed anew from the samples
    used here. `known`: the table of stage `known`; `trace`: how the prompts were corrupted when they were traced.
    """
    trace = replace(trace, samples=config.samples)
    parts, about = [], []
    chosen = selection.chosen(traced, selection.Settings(config.count, config.prompts), lm.name)
    rows = {row.prompt_id: row for row in known.itertuples()}
    with progress.bar(None, f"gradients {lm.name}", "layer", len(chosen) * len(MODULES) * lm.layers) as bar:
        for prompt_id in chosen:
            prompt = causal_trace.prepare(lm, rows[prompt_id], trace)
            embeddings = causal_trace.corrupted(Adapter(lm, len(prompt.ids)), prompt, corruption, trace, seed)
            lines = Lines(lm, prompt.ids, int(prompt.row.answer_id), embeddings)
            for site in MODULES:
                for layer in range(lm.layers):
                    values, begins = lines.integral(site, layer, config.points, config.batch)
                    keys = {"model": lm.name, "prompt_id": prompt_id, "site": site, "token": range(len(prompt.ids))}
                    means = {"attribution": values.mean(0).numpy(), "baseline": begins.mean().item()}
                    parts.append(pd.DataFrame(keys | {"layer": layer} | means))
                    bar.update()
            row = traced[traced["prompt_id"] == prompt_id].iloc[0].drop("variant").to_dict()
            about.append(row | {"clean": lines.clean, "corrupted": lines.corrupted})
    return pd.concat(parts, ignore_index=True), pd.DataFrame(about)


class Lines:
    """The straight lines from corrupted to clean activations of one prompt, for every site and layer.

    ids: its token ids [T]; answer: the token whose probability counts; embeddings: token embeddings [1 + S, T, d], the
    clean ones first. `clean` and `corrupted` are p(answer) of both passes, the latter a mean over samples.
    """

    def __init__(self, lm: LM, ids: Sequence[int], answer: int, embeddings: Tensor) -> None:
        self.lm, self.answer = lm, answer
        self.ids = torch.tensor([ids], device=lm.device)
        modules = {
            (site, layer): lm.module(part, layer) for site, part in MODULES.items() for layer in range(lm.layers)
        }
        embed = (lm.module("embed"), lambda _module, _inputs, _output: embeddings)
        with torch.no_grad(), hooks.captured(modules) as kept, hooks.hooked(embed):
            ends = self._chances(self.ids.expand(len(embeddings), -1))
        self.kept = {key: value.clone() for key, value in kept.items()}  # [1 + S, T, d]
        self.clean, self.corrupted, self.limit = ends[0].item(), ends[1:].mean().item(), ChunkLimit()

    def integral(self, site: str, layer: int, points: int, batch: int) -> tuple[Tensor, Tensor]:
        """Attribution [S, T] of every token, and f(0) [S], in float64.

        By Gauss-Legendre quadrature with `points` points, `batch` of them computed at a time.
        """
        end, begins = self.kept[site, layer][0], self.kept[site, layer][1:]
        nodes, weights = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(points))
        shares = list(zip(((nodes + 1) / 2).tolist(), (weights / 2).tolist()))
        attributions = []
        for begin in begins:
            slopes = partial(self._slopes, site, layer, begin, end)
            attributions.append(sum(halving(slopes, shares, batch, "point", self.limit), torch.zeros(())))
        with torch.no_grad():
            return torch.stack(attributions), torch.cat([self._at(site, layer, begin[None]) for begin in begins])

    @torch.enable_grad()
    def _slopes(
        self, site: str, layer: int, begin: Tensor, end: Tensor, shares: Sequence[tuple[float, float]]
    ) -> Tensor:
        """The part [T] of the integral of some points (share, weight) of the line from `begin` to `end` [T, d]."""
        along = end.new_tensor([share for share, _ in shares])[:, None, None]
        leaf = (begin + along * (end - begin)).requires_grad_()
        slope = torch.autograd.grad(self._at(site, layer, leaf).sum(), leaf)[0]
        weights = torch.tensor([weight for _, weight in shares], dtype=torch.float64, device=leaf.device)
        return torch.einsum("k,ktd,td->t", weights, slope.double(), (end - begin).double()).cpu()

    def _at(self, site: str, layer: int, values: Tensor) -> Tensor:
        """p(answer) [K] in float64 with `values` [K, T, d] as the outputs of the site in `layer`, all else clean."""
        lm, rows = self.lm, len(values)
        with ExitStack() as stack:
            if site == "hidden":
                stack.enter_context(hooks.resumed(lm, layer, values))
            else:
                if layer:
                    before = self.kept["hidden", layer - 1][:1].expand(rows, -1, -1)
                    stack.enter_context(hooks.resumed(lm, layer - 1, before))
                module = lm.module(MODULES[site], layer)
                replaced = (module, lambda _module, _inputs, output: hooks.with_first(output, values))
                stack.enter_context(hooks.hooked(replaced))
            return self._chances(self.ids.expand(rows, -1))

    def _chances(self, ids: Tensor) -> Tensor:
        """p(answer) [K] in float64, on the CPU."""
        logits = self.lm.logits(self.lm.hidden(ids)[:, -1])
        return logits.double().softmax(-1)[:, self.answer].cpu()
