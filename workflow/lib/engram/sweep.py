"""Every restoration of one prompt in one sweep over the layers (ROME Sec. 2.1), computing only what it changes.

Restoring token t after layer l leaves the layers <= l and the tokens < t as in the corrupted run. So the clean and the
corrupted run happen once, with everything kept; the restorations of one token form a batch that grows as the sweep
reaches their layers, holds the tokens >= t only, and attends to the corrupted keys and values of the tokens < t.
A token before the first corrupted one is the same in both runs: restoring it gives the corrupted probability.

Shapes: S noise samples, T tokens, L layers, d width, H heads, k width of a head, P restorations, n = T - t tokens.
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
    """The clean run (row 0) and the corrupted runs (rows 1 ..) of one prompt, with what a restoration starts from.

    boundary: L + 1 block inputs [1 + S, T, d], the last one the output of the last block; attn, mlp: outputs of the L
    modules, same shape; heads: L tensors q, k, v [3, 1 + S, H, T, k]; begin: the first corrupted token; answer: the
    token id whose probability counts; probability: of the answer, float64 [1 + S].
    """

    adapter: Adapter
    boundary: list
    attn: list
    mlp: list
    heads: list
    begin: int
    answer: int
    probability: torch.Tensor

    @property
    def samples(self) -> int:
        return len(self.probability) - 1

    @property
    def length(self) -> int:
        return self.adapter.length


def run(adapter: Adapter, embeddings: torch.Tensor, begin: int, answer: int) -> Runs:
    """Run token embeddings [1 + S, T, d], row 0 clean and the others corrupted from token `begin` on."""
    x = adapter.enter(embeddings)
    kept = {"boundary": [x], "attn": [], "mlp": [], "heads": []}
    for layer in range(adapter.layers):
        heads = adapter.heads(layer, x, 0).contiguous()
        attn = adapter.attention(layer, *heads)
        mlp = adapter.mlp(layer, x, x + attn)
        x = x + attn + mlp
        for name, value in (("boundary", x), ("attn", attn), ("mlp", mlp), ("heads", heads)):
            kept[name].append(value)
    return Runs(adapter, begin=begin, answer=answer, probability=adapter.probability(x[:, -1], answer), **kept)


def starts(runs: Runs, patches: list[Patch]) -> torch.Tensor:
    """For each restoration the output of its block `join`, were it at token t: [P, S, T, d]."""
    return torch.stack([_start(runs, patch) for patch in patches])


def _start(runs: Runs, patch: Patch) -> torch.Tensor:
    layer, samples = patch.join, runs.samples
    before, attn, mlp = (kept[layer] for kept in (runs.boundary, runs.attn, runs.mlp))
    if patch.site == "mlp":
        return before[1:] + attn[1:] + mlp[:1]
    if patch.site == "attn":
        attended = before[1:] + attn[:1]
        return attended + (mlp[1:] if runs.adapter.parallel else runs.adapter.mlp(layer, before[1:], attended))
    return runs.boundary[layer + 1][:1].expand(samples, -1, -1)


def restore(runs: Runs, token: int, patches: list[Patch], starts: torch.Tensor, batch_rows: int) -> torch.Tensor:
    """p(answer) [P, S] in float64 with each of the restorations at `token`; `starts` as made by `starts` [P, S, T, d].

    At most `batch_rows` token rows (restorations x samples x tokens) are computed at a time. ValueError if that is too
    small for one restoration.
    """
    last = token == runs.length - 1
    final = runs.adapter.layers - 1
    live = [i for i, patch in enumerate(patches) if token >= runs.begin and (last or patch.join < final)]
    found = runs.probability[1:].repeat(len(patches), 1)  # what cannot reach the last position changes nothing
    rows = runs.samples * (runs.length - token)
    if batch_rows < rows:
        raise ValueError(f"trace.batch_rows is {batch_rows}, but one restoration at token {token} of a prompt of "
                         f"{runs.length} tokens needs {rows} rows ({runs.samples} samples)")
    size = batch_rows // rows
    for i in range(0, len(live), size):
        some = live[i : i + size]
        found[some] = _sweep(runs, token, [patches[j] for j in some], starts[some[0] : some[-1] + 1, :, token])
    return found


def _sweep(runs: Runs, token: int, todo: list[Patch], start: torch.Tensor) -> torch.Tensor:
    """The restorations `todo` (sorted by `join`) at `token`, each joining after its layer from `start` [P, S, d]."""
    adapter, final = runs.adapter, runs.adapter.layers - 1
    x = start.new_empty(len(todo), runs.samples, runs.length - token, start.shape[-1])
    room = start.new_empty(len(todo) * runs.heads[0][:, 1:].numel())  # for q, k, v of any layer: one allocation
    old = 0  # restorations that are already under way: the first ones
    for layer in range(todo[0].join + 1, adapter.layers):
        new = old + sum(patch.join == layer - 1 for patch in todo)
        x[old:new] = runs.boundary[layer][1:, token:]
        x[old:new, :, 0] = start[old:new]
        q, k, v = _heads(runs, token, layer, x[:new], old, room)
        rest = x[:new, :, -1:] if layer == final else x[:new]
        attn = adapter.attention(layer, q[:, :, -rest.shape[2] :], k, v).view(rest.shape)
        _hold(runs, token, layer, todo[:new], "attn", attn)
        attended = rest + attn
        mlp = adapter.mlp(layer, rest, attended)
        _hold(runs, token, layer, todo[:new], "mlp", mlp)
        torch.add(attended, mlp, out=rest)
        old = new
    x[old:, :, -1] = start[old:]  # restored after the last layer, at the last token
    return adapter.probability(x[:, :, -1].flatten(0, 1), runs.answer).view(len(todo), runs.samples)


def _heads(runs: Runs, token: int, layer: int, x: torch.Tensor, old: int, room: torch.Tensor):
    """q, k, v [3, P·S, H, T, k] of `layer` from its input x [P, S, n, d], in `room`; tokens < t from the corrupted run.

    The restorations from `old` on have just joined: their tokens after the first are still the corrupted ones.
    """
    cached = runs.heads[layer][:, None, 1:]
    full = room[: cached.numel() * len(x)].view(3, len(x), *cached.shape[2:])
    full[..., :token, :] = cached[..., :token, :]
    if old:
        moving = runs.adapter.heads(layer, x[:old].flatten(0, 1), token)
        full[:, :old, ..., token:, :] = moving.unflatten(1, (old, -1))
    if old < len(x):
        joining = runs.adapter.heads(layer, x[old:, :, :1].flatten(0, 1), token)
        full[:, old:, ..., token : token + 1, :] = joining.unflatten(1, (len(x) - old, -1))
        full[:, old:, ..., token + 1 :, :] = cached[..., token + 1 :, :]
    return full.flatten(1, 2)


def _hold(runs: Runs, token: int, layer: int, todo: list[Patch], module: str, output: torch.Tensor) -> None:
    """Put the held values of `module` at `token` into its output [P, S, n or 1, d], in place."""
    if output.shape[2] != runs.length - token:  # only the last token is computed, and it is a later one
        return
    kept = (runs.attn if module == "attn" else runs.mlp)[layer][:, token]
    for i, patch in enumerate(todo):
        if patch.held(module, layer):
            output[i, :, 0] = kept[1:] if patch.site.startswith("no_") else kept[:1]
