"""Causal tracing the slow, obvious way: one hooked transformers forward per restoration, a clean row with the rest."""

from contextlib import contextmanager

import torch

from engram.tracing.restoration import window


@contextmanager
def hooks(pairs):
    """Register (module, hook) pairs for the time of a `with`."""
    handles = [module.register_forward_hook(hook) for module, hook in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first(output):
    return output[0] if isinstance(output, tuple) else output


def corrupt(noise_SkD, begin, replace):
    def hook(module, inputs, output):
        end = begin + noise_SkD.shape[1]
        kept = torch.zeros_like(noise_SkD) if replace else output[1:, begin:end].double()
        output[1:, begin:end] = (kept + noise_SkD).to(output.dtype)
        return output

    return hook


def restore(token):
    def hook(module, inputs, output):
        first(output)[1:, token] = first(output)[:1, token]
        return output

    return hook


def hold(token, values):
    def hook(module, inputs, output):
        first(output)[1:, token] = values[1:, token]
        return output

    return hook


def record(into):
    def hook(module, inputs, output):
        into.append(first(output).clone())

    return hook


@torch.inference_mode()
def probabilities(lm, ids, noise_SkD, begin, answer, replace=False, extra=()):
    """p(answer) [1 + S] of one forward of the clean row and S corrupted ones, with further (module, hook) pairs."""
    rows, noise_SkD = torch.tensor([ids] * (len(noise_SkD) + 1), device=lm.device), noise_SkD.to(lm.device)
    with hooks([(lm.module("embed"), corrupt(noise_SkD, begin, replace)), *extra]):
        logits = lm.model(rows, use_cache=False).logits[:, -1]
    return logits.double().softmax(-1)[:, answer]


def kept(lm, ids, noise_SkD, begin, answer, site, replace=False):
    """What a site `no_…` keeps as it is in the corrupted run: (module, its output) of every layer; else nothing."""
    modules = [lm.module(site.removeprefix("no_"), at) for at in range(lm.layers)] if site.startswith("no_") else []
    outputs = []
    if modules:
        probabilities(lm, ids, noise_SkD, begin, answer, replace, [(module, record(outputs)) for module in modules])
    return list(zip(modules, outputs, strict=True))


def score(lm, ids, noise_SkD, begin, answer, site, token, layer, width, replace=False, held=()):
    """Mean over the samples of p(answer) with one restoration; `held`: what is kept at this site."""
    if site in ("mlp", "attn"):
        extra = [(lm.module(site, at), restore(token)) for at in range(*window(layer, width, lm.layers))]
    else:
        extra = [(lm.module("block", layer), restore(token))]
    extra += [(module, hold(token, values)) for module, values in held]
    return probabilities(lm, ids, noise_SkD, begin, answer, replace, extra)[1:].mean().item()
