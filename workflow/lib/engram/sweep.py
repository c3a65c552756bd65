"""Every restoration of a group of prompts in sweeps over the layers (ROME Sec. 2.1), computing only what they change.

Restoring token t after layer l leaves the layers <= l and the tokens < t as in the corrupted run. So the clean and the
corrupted run happen once, with everything kept; the restorations of one token form a batch that grows as the sweep
reaches their layers, holds the tokens >= t only, and attends to the corrupted keys and values of the tokens < t.
A token before the first corrupted one is the same in both runs: restoring it gives the corrupted probability. Prompts
of one length go through a sweep together; those corrupted from a later token on join at that token.

Shapes: G prompts, A of them corrupted at token t already, S noise samples, T tokens, L layers, d width, H heads, k width
of a head, P restorations, n = T - t tokens.
"""

from dataclasses import dataclass

import torch

from engram.adapters import Adapter

SITES = ("hidden", "mlp", "attn", "no_mlp", "no_attn")
_MODULE = {"mlp": "mlp", "no_mlp": "mlp", "attn": "attn", "no_attn": "attn"}


@dataclass(frozen=True)
class Patch:
    """One restoration at some token: the run differs from the corrupted one from the output of block `join` on.

    hidden            the output of block `join` is the clean one
    mlp, attn         the module's outputs in the layers join .. stop - 1 are the clean ones
    no_mlp, no_attn   as hidden, with the module's outputs in all layers held at their corrupted values (severed)
    `layers` are the layers of the table that this restoration fills: the centres of one clipped window.
    """

    site: str
    join: int
    stop: int
    layers: tuple[int, ...]

    def held(self, module: str, layer: int) -> bool:
        return _MODULE.get(self.site) == module and self.join < layer < self.stop


def window(layer: int, width: int, layers: int) -> tuple[int, int]:
    """First and last + 1 layer of the window of `width` layers centred at `layer`, clipped to the model.

    PAPER: ROME Sec. 2.2 writes l-4 .. l+5 for ten layers.
    DIFFERS: the code that made the paper's figures restores l-5 .. l+4, and so does this.
    """
    begin = layer - width // 2
    return max(0, begin), min(layers, begin + width)


def patches(sites: tuple, width: int, layers: int) -> list[Patch]:
    """The restorations of one token, in the order in which a sweep reaches them; equal clipped windows are one."""
    spans = {}
    for site in sites:
        for layer in range(layers):
            span = window(layer, width, layers) if site in ("mlp", "attn") else (layer, layers)
            spans.setdefault((span[0], SITES.index(site), span[1]), []).append(layer)
    return [Patch(SITES[site], join, stop, tuple(rows)) for (join, site, stop), rows in sorted(spans.items())]


@dataclass(frozen=True)
class Runs:
    """The clean run (row 0) and the corrupted runs (rows 1 ..) of G prompts, with what a restoration starts from.

    boundary: L + 1 block inputs [G, 1 + S, T, d], the last one the output of the last block; attn, mlp: outputs of the L
    modules, same shape; heads: L tensors q, k, v [3, G, 1 + S, H, T, k]; begins: the first corrupted token of each
    prompt, ascending; answers: the token ids whose probability counts [G]; probability: of the answer, float64 [G, 1 + S].
    """

    adapter: Adapter
    boundary: list
    attn: list
    mlp: list
    heads: list
    begins: tuple[int, ...]
    answers: torch.Tensor
    probability: torch.Tensor

    @property
    def samples(self) -> int:
        return self.probability.shape[1] - 1

    @property
    def length(self) -> int:
        return self.adapter.length

    def active(self, token: int) -> int:
        """How many prompts, the first ones, are corrupted at `token` or before it."""
        return sum(begin <= token for begin in self.begins)


def run(adapter: Adapter, embeddings: torch.Tensor, begins: tuple, answers: torch.Tensor) -> Runs:
    """Run token embeddings [G, 1 + S, T, d], in each prompt row 0 clean and the others corrupted from `begins` [G] on."""
    shape = embeddings.shape[:2]
    x = adapter.enter(embeddings.flatten(0, 1))
    kept = {"boundary": [x.unflatten(0, shape)], "attn": [], "mlp": [], "heads": []}
    for layer in range(adapter.layers):
        heads = adapter.heads(layer, x, 0).contiguous()
        attn = adapter.attention(layer, *heads)
        mlp = adapter.mlp(layer, x, x + attn)
        x = x + attn + mlp
        kept["heads"].append(heads.unflatten(1, shape))
        for name, value in (("boundary", x), ("attn", attn), ("mlp", mlp)):
            kept[name].append(value.unflatten(0, shape))
    probability = adapter.probability(x[:, -1], answers.repeat_interleave(shape[1])).view(shape)
    return Runs(adapter, begins=begins, answers=answers, probability=probability, **kept)


def starts(runs: Runs, patches: list[Patch]) -> torch.Tensor:
    """For each restoration the output of its block `join`, were it at token t: [P, G, S, T, d]."""
    return torch.stack([_start(runs, patch) for patch in patches])


def _start(runs: Runs, patch: Patch) -> torch.Tensor:
    layer, samples = patch.join, runs.samples
    before, attn, mlp = (kept[layer] for kept in (runs.boundary, runs.attn, runs.mlp))
    if patch.site == "mlp":
        return before[:, 1:] + attn[:, 1:] + mlp[:, :1]
    if patch.site == "attn":
        attended = before[:, 1:] + attn[:, :1]
        return attended + (mlp[:, 1:] if runs.adapter.parallel else runs.adapter.mlp(layer, before[:, 1:], attended))
    return runs.boundary[layer + 1][:, :1].expand(-1, samples, -1, -1)


def restore(runs: Runs, token: int, patches: list[Patch], starts: torch.Tensor, size: int) -> torch.Tensor:
    """p(answer) [P, G, S] in float64 with each of the restorations at `token`; `starts` as made by `starts`.

    `size` restorations are computed at a time.
    """
    active, final = runs.active(token), runs.adapter.layers - 1
    last = token == runs.length - 1
    live = [i for i, patch in enumerate(patches) if active and (last or patch.join < final)]
    found = runs.probability[:, 1:].repeat(len(patches), 1, 1)  # what cannot reach the last position changes nothing
    for i in range(0, len(live), size):
        some = live[i : i + size]
        begin = starts[some[0] : some[-1] + 1, :active, :, token]
        found[some[0] : some[-1] + 1, :active] = _sweep(runs, token, [patches[j] for j in some], begin)
    return found


def _sweep(runs: Runs, token: int, todo: list[Patch], start: torch.Tensor) -> torch.Tensor:
    """The restorations `todo` (sorted by `join`) at `token`, each joining after its layer from `start` [P, A, S, d]."""
    adapter, final, active = runs.adapter, runs.adapter.layers - 1, start.shape[1]
    x = start.new_empty(*start.shape[:3], runs.length - token, start.shape[-1])
    room = start.new_empty(len(todo) * runs.heads[0][:, :active, 1:].numel())  # for q, k, v of any layer: one allocation
    old = 0  # restorations that are already under way: the first ones
    for layer in range(todo[0].join + 1, adapter.layers):
        new = old + sum(patch.join == layer - 1 for patch in todo)
        x[old:new] = runs.boundary[layer][:active, 1:, token:]
        x[old:new, ..., 0, :] = start[old:new]
        q, k, v = _heads(runs, token, layer, x[:new], old, room)
        rest = x[:new, ..., -1:, :] if layer == final else x[:new]
        attn = adapter.attention(layer, q[:, :, -rest.shape[3] :], k, v).view(rest.shape)
        _hold(runs, token, layer, todo[:new], "attn", attn)
        attended = rest + attn
        mlp = adapter.mlp(layer, rest, attended)
        _hold(runs, token, layer, todo[:new], "mlp", mlp)
        torch.add(attended, mlp, out=rest)
        old = new
    x[old:, ..., -1, :] = start[old:]  # restored after the last layer, at the last token
    answers = runs.answers[:active, None].expand(start.shape[:3])
    return adapter.probability(x[..., -1, :].flatten(0, 2), answers.flatten()).view(answers.shape)


def _heads(runs: Runs, token: int, layer: int, x: torch.Tensor, old: int, room: torch.Tensor):
    """q, k, v [3, P·A·S, H, T, k] of `layer` from its input x [P, A, S, n, d], in `room`; tokens < t as in the corrupted run.

    The restorations from `old` on have just joined: their tokens after the first are still the corrupted ones.
    """
    cached = runs.heads[layer][:, None, : x.shape[1], 1:]
    full = room[: cached.numel() * len(x)].view(3, len(x), *cached.shape[2:])
    full[1:, ..., :token, :] = cached[1:, ..., :token, :]  # nobody asks for their queries
    if old:
        moving = runs.adapter.heads(layer, x[:old].flatten(0, 2), token)
        full[:, :old, ..., token:, :] = moving.unflatten(1, (old, *x.shape[1:3]))
    if old < len(x):
        joining = runs.adapter.heads(layer, x[old:, ..., :1, :].flatten(0, 2), token)
        full[:, old:, ..., token : token + 1, :] = joining.unflatten(1, (len(x) - old, *x.shape[1:3]))
        full[:, old:, ..., token + 1 :, :] = cached[..., token + 1 :, :]
    return full.flatten(1, 3)


def _hold(runs: Runs, token: int, layer: int, todo: list[Patch], module: str, output: torch.Tensor) -> None:
    """Put the held values of `module` at `token` into its output [P, A, S, n or 1, d], in place."""
    if output.shape[3] != runs.length - token:  # only the last token is computed, and it is a later one
        return
    kept = (runs.attn if module == "attn" else runs.mlp)[layer][: output.shape[1], :, token]
    for i, patch in enumerate(todo):
        if patch.held(module, layer):
            output[i, ..., 0, :] = kept[:, 1:] if patch.site.startswith("no_") else kept[:, :1]
