"""Facts, random second moments and values for editors with a closed form, and slow oracles of what they compute."""

import numpy as np
import torch

from engram.editing.editor import Aids
from engram.editing.facts import Fact, lookups
from engram.editing.second_moment import Moment
from engram.methods import alphaedit, emmet, memit, memit_seq, pmet, r_rome
from engram.model.delta import Delta, applied
from toy import PROMPTS

KINDS = ("gpt2", "llama")


CONTEXTS = ("{}", "Zürich is. {}", "He plays the. {}")


FACTS = [
    Fact(7 * i, subject, prompt.replace(subject, "{}"), target)
    for i, ((prompt, subject), target) in enumerate(zip(PROMPTS, ("French", "Rome in Switzerland", "chess")))
]


LAYERS = (0, 1, 2)


SETTINGS = {
    "r-rome": r_rome.Settings(layer=1),
    "memit": memit.Settings(layer=2, layers=LAYERS, covariance_weight=0.5),
    "memit-seq": memit_seq.Settings(layer=2, layers=LAYERS, covariance_weight=0.5),
    "pmet": pmet.Settings(layer=2, layers=LAYERS, covariance_weight=0.5),
    "emmet": emmet.Settings(layer=1, covariance_weight=2.0, ridge=0.01),
    "alphaedit": alphaedit.Settings(layer=2, layers=LAYERS, threshold=1.0, ridge=0.1),
}


def moment(width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(4 * width, width, generator=generator, dtype=torch.float64)
    keys *= 3 * torch.rand(width, generator=generator, dtype=torch.float64)
    return Moment(keys.T @ keys, len(keys))


def aids_of(model, facts=FACTS, **more):
    draws = torch.randn(len(facts), model.width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    targets = {fact.case_id: draw.to(model.model.dtype) for fact, draw in zip(facts, draws)}
    moments = {layer: moment(model.key_width(layer), layer) for layer in LAYERS}
    return Aids(**{"contexts": CONTEXTS, "moments": moments, "targets": targets, **more})


def wanted(aids, facts=FACTS):
    return torch.stack([aids.targets[fact.case_id] for fact in facts]).double()


def slow_keys(model, layer, fact, contexts=CONTEXTS):
    """The key of every context [C, D], each text alone in a plain forward, and output of every block and MLP at its
    token.
    """
    keys, blocks, mlps = [], [], []
    for context in contexts:
        (row,) = lookups(model.tokenizer, fact, [context])
        kept, store = {}, lambda name: lambda _m, inputs, output: kept.__setitem__(name, (inputs, output))
        handles = [
            model.module("value", layer).register_forward_hook(store("value")),
            model.module("block", 2).register_forward_hook(store("block")),
            model.module("mlp", 2).register_forward_hook(store("mlp")),
        ]
        with torch.no_grad():
            model.model(input_ids=torch.tensor([row.ids]))
        for handle in handles:
            handle.remove()
        out = kept["block"][1]
        keys.append(kept["value"][0][0][0, row.position])
        blocks.append((out[0] if isinstance(out, tuple) else out)[0, row.position])
        mlps.append(kept["mlp"][1][0, row.position])
    return torch.stack(keys), blocks[0], mlps[0]


def weighted_key(model, layer, fact, contexts=CONTEXTS):
    keys = slow_keys(model, layer, fact, contexts)[0]
    return 0.5 * keys[0] + 0.5 * sum(keys[1:]) / (len(keys) - 1) if len(keys) > 1 else keys[0]


def c_norm(change, c):
    return float(torch.trace(change @ c @ change.T))


def smallest(c, keys, residual):
    """The smallest ΔW in the C-norm with ΔW K = R [d, F], numerically: least norm of ΔW C^½, from an SVD."""
    values, vectors = np.linalg.eigh(c.numpy())
    back = vectors * values**-0.5 @ vectors.T
    moved = back @ keys.numpy().T  # C^-½ K; ΔW K = (ΔW C^½)(C^-½ K)
    return torch.tensor((np.linalg.lstsq(moved.T, residual.numpy().T, rcond=None)[0]).T @ back)


def slow_memit(model, facts, aids, layers, share, site, solve):
    """Algorithm 1 of MEMIT with plain forwards, dense matrices and an inverse."""
    parts = {}
    for index, layer in enumerate(layers):
        with applied(model, Delta(dict(parts))):
            keys = torch.stack([weighted_key(model, layer, fact) for fact in facts])
            now = torch.stack([slow_keys(model, layer, fact)[1 if site == "block" else 2] for fact in facts])
        residual = (wanted(aids, facts) - now) * share(len(layers) - index)
        parts[layer] = residual.T @ keys @ torch.linalg.inv(solve(layer, keys))
    return parts


def keys_of(model, layer, facts):
    return torch.stack([weighted_key(model, layer, fact) for fact in facts]).T
