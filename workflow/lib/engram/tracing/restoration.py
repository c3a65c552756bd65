"""Every restoration of a group of prompts in sweeps over the layers (ROME Sec. 2.1), computing only what they change.

Restoring token t after layer l leaves the layers <= l and the tokens < t as in the corrupted run. So the clean and the
corrupted run happen once, with everything kept; the restorations form a batch that grows as the sweep reaches their
layers. Restored at token t, a run holds the tokens >= t only, and attends to the corrupted keys and values of the
others. All restored tokens of all prompts of one length can be in one sweep: its rows lie side by side in one buffer
[P, W, d], which norms, projections and MLPs take whole; only the attention goes token by token, as each has its own
keys. A token before the first corrupted one is the same in both runs: restoring it gives the corrupted probability. A
prompt corrupted from a later token on is absent from the rows of the tokens before it.

Shapes: G prompts, A of them corrupted at token t already, S noise samples, T tokens, L layers, d width, H heads, k
width of a head, P restorations of a token, n = T - t tokens, C the sum of A S over the tokens t of a sweep, W that of A
S n.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch

from engram.tracing.passes import Runs

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


def starts(runs: Runs, patches: list[Patch]) -> torch.Tensor:
    """For each restoration the output of its block `join`, were it at token t: [P, G, S, T, d]."""
    return torch.stack([_start(runs, patch) for patch in patches])


def _start(runs: Runs, patch: Patch) -> torch.Tensor:
    layer, samples = patch.join, runs.samples
    before, attn, mlp = (kept[layer] for kept in (runs.boundary, runs.attn, runs.mlp))
    adapter = runs.adapter
    if patch.site == "mlp":
        return adapter.add(layer, "mlp", adapter.add(layer, "attn", before[:, 1:], attn[:, 1:]), mlp[:, :1])
    if patch.site == "attn":
        attended = adapter.add(layer, "attn", before[:, 1:], attn[:, :1])
        kept = mlp[:, 1:] if adapter.parallel else adapter.mlp(layer, before[:, 1:], attended)
        return adapter.add(layer, "mlp", attended, kept)
    return runs.boundary[layer + 1][:, :1].expand(-1, samples, -1, -1)


@dataclass(frozen=True)
class Span:
    """The rows of one restored token in a sweep's buffers [P, W, ..]: of A prompts, S samples, n positions from it
    on.
    """

    token: int
    begin: int
    shape: tuple[int, int, int]  # A, S, n

    @property
    def end(self) -> int:
        return self.begin + prod(self.shape)

    def of(self, x: torch.Tensor, dim: int = 1) -> torch.Tensor:
        """The token's rows [P, A, S, n, ..] of a buffer [P, W, ..], a view; W is the dimension `dim`."""
        return x.narrow(dim, self.begin, prod(self.shape)).unflatten(dim, self.shape)

    def positions(self, device: torch.device) -> torch.Tensor:
        """Of its rows [A S n]."""
        return torch.arange(self.token, self.token + self.shape[2], device=device).repeat(prod(self.shape[:2]))


def _spans(runs: Runs, tokens: list[int], most: int) -> list[Span]:
    """The rows of restored tokens side by side, at most `most` positions of each run."""
    spans, begin = [], 0
    for token in tokens:
        spans.append(Span(token, begin, (runs.active(token), runs.samples, min(most, runs.length - token))))
        begin = spans[-1].end
    return spans


def sweeps(tokens: list[int], positions: Callable, rows: int) -> list[list[int]]:
    """Which of the restored tokens go through the layers together: those with `rows` positions at most, or one
    token.
    """
    found, room = [], 0
    for token in tokens:
        if not found or positions(token) > room:
            found, room = [*found, []], rows
        found[-1].append(token)
        room -= positions(token)
    return found


def restore(
    runs: Runs, tokens: list[int], patches: list[Patch], starts: torch.Tensor, size: int, rows: int
) -> torch.Tensor:
    """p(answer) [t, P, G, S] in float64 with each of the restorations at each of t ascending tokens; `starts` as made
    by `starts`. `size` restorations of a token are computed at a time, and `rows` positions of each, or those of one
    token.
    """
    found = runs.probability[:, 1:].repeat(len(tokens), len(patches), 1, 1)  # what cannot reach the end changes nothing
    done = sum(not runs.active(token) for token in tokens)
    for some in sweeps(tokens[done:], runs.positions, rows):
        last = some[-1] == runs.length - 1
        live = sum(last or patch.join < runs.adapter.layers - 1 for patch in patches)
        for i in range(0, live, size):
            part = slice(i, min(i + size, live))
            _Sweep(runs, some, patches[part], starts[part]).fill(found[done : done + len(some), part])
        done += len(some)
    return found


class _Sweep:
    """The restorations `todo` (sorted by `join`) at `tokens`, each joining after its layer from `starts` [P, G, S, T,
    d].
    """

    def __init__(self, runs: Runs, tokens: list[int], todo: list[Patch], starts: torch.Tensor):
        self.runs, self.adapter, self.todo, self.starts = runs, runs.adapter, todo, starts
        self.final = self.adapter.layers - 1
        self.before = sum(
            patch.join < self.final for patch in todo
        )  # the others, the last ones, join after the last layer
        self.spans, self.single = _spans(runs, tokens, runs.length), _spans(runs, tokens, 1)
        self.positions, self.first = (
            torch.cat([span.positions(starts.device) for span in spans]) for spans in (self.spans, self.single)
        )
        most = runs.heads[0][:, : self.spans[-1].shape[0], 1:].numel()
        self.room = starts.new_empty(self.before * most)  # for q, k, v of any token and layer: one allocation

    def fill(self, found: torch.Tensor) -> None:
        """Put p(answer) into found [t, P, G, S], but leave what cannot reach the last position."""
        ends = self._ends()
        late = self.starts[self.before :, ..., -1, :]  # at the last token; without it among the tokens there are none
        owners = [self.runs.answers[: span.shape[0]].repeat_interleave(span.shape[1]) for span in self.single]
        answers = torch.cat((torch.cat(owners).repeat(len(ends)), owners[-1].repeat(len(late))))
        values = self.adapter.probability(torch.cat((ends.flatten(0, 1), late.flatten(0, 2))), answers)
        values, after = values.split((len(ends) * ends.shape[1], late[..., 0].numel()))
        for span, into in zip(self.single, found):
            into[: len(ends), : span.shape[0]] = span.of(values.view(ends.shape[:2]))[..., 0]
        found[-1, len(ends) :] = after.view(late.shape[:-1])

    def _ends(self) -> torch.Tensor:
        """The last block's output at the last position [P, C, d], of the restorations that join before it."""
        x = self.starts.new_empty(self.before, self.spans[-1].end, self.starts.shape[-1])
        rest, old = x[:, : self.single[-1].end], 0
        for layer in range(self.todo[0].join + 1, self.adapter.layers):
            new = sum(patch.join < layer for patch in self.todo)
            self._join(layer, x[:new], old)
            rest, old = self._block(layer, x[:new], old), new
        return rest

    def _block(self, layer: int, x: torch.Tensor, old: int) -> torch.Tensor:
        """The block's output in place of its input x [P, W, d]; in the last layer that of the last position alone [P,
        C, d].

        The restorations from `old` on have just joined: their tokens after the first are still the corrupted ones.
        """
        attn = self.adapter.project(layer, self._mixed(layer, x, old))
        rest, spans = (self._column(x, -1), self.single) if layer == self.final else (x, self.spans)
        self._hold(layer, "attn", attn, spans)
        attended = attn.add_(rest) if self.adapter.plain else self.adapter.add(layer, "attn", rest, attn)
        mlp = self.adapter.mlp(layer, rest, attended)
        self._hold(layer, "mlp", mlp, spans)
        if self.adapter.plain:
            return torch.add(attended, mlp, out=rest)
        return rest.copy_(self.adapter.add(layer, "mlp", attended, mlp))

    def _column(self, x: torch.Tensor, at: int) -> torch.Tensor:
        """The first (0) or last (-1) position of every run: [P, C, d] of [P, W, d]."""
        return torch.cat([span.of(x)[..., at, :].flatten(1, 2) for span in self.spans], 1)

    def _join(self, layer: int, x: torch.Tensor, old: int) -> None:
        """Let the restorations from `old` on be the corrupted runs before `layer`, but for the token restored."""
        for span in self.spans:
            rows, active = span.of(x)[old:], span.shape[0]
            rows[:] = self.runs.boundary[layer][:active, 1:, span.token :]
            rows[..., 0, :] = self.starts[old : len(x), :active, :, span.token]

    def _mixed(self, layer: int, x: torch.Tensor, old: int) -> torch.Tensor:
        """What the attention's heads read [P, W, H, k], in the last layer [P, C, H, k], from its block's input x [P, W,
        d].
        """
        moving = self.adapter.heads(layer, x[:old], self.positions)
        joining = self.adapter.heads(layer, self._column(x[old:], 0), self.first)
        asked = self.single if layer == self.final else self.spans
        mixed = x.new_empty(len(x), asked[-1].end, *self.runs.heads[layer].shape[3::2])
        for span, single, part in zip(self.spans, self.single, asked):
            q, k, v = self._heads(layer, span, span.of(moving, 3), single.of(joining, 3))
            found = self.adapter.mix(layer, q[:, :, -part.shape[2] :], k, v)
            part.of(mixed)[:] = found.unflatten(0, (len(x), *part.shape[:2]))
        return mixed

    def _heads(self, layer: int, span: Span, moving: torch.Tensor, joining: torch.Tensor) -> torch.Tensor:
        """q, k, v [3, P A S, H, T, k] of one token in the room; tokens before it as in the corrupted run.

        moving [3, P, H, A, S, n, k], and of the first position of the restorations that follow joining [.., 1, k].
        """
        token, old, new = span.token, moving.shape[1], moving.shape[1] + joining.shape[1]
        cached = self.runs.heads[layer][:, None, : span.shape[0], 1:]
        full = self.room[: cached.numel() * new].view(3, new, *cached.shape[2:])
        full[1:, ..., :token, :] = cached[1:, ..., :token, :]  # nobody asks for their queries
        full[:, :old, ..., token:, :] = moving.movedim(2, 4)
        full[:, old:, ..., token : token + 1, :] = joining.movedim(2, 4)
        full[:, old:, ..., token + 1 :, :] = cached[..., token + 1 :, :]
        return full.flatten(1, 3)

    def _hold(self, layer: int, module: str, output: torch.Tensor, spans: list[Span]) -> None:
        """Put the held values of `module` at the restored tokens into its output [P, W or C, d], in place."""
        kept = (self.runs.attn if module == "attn" else self.runs.mlp)[layer]
        for i in [i for i, patch in enumerate(self.todo[: len(output)]) if patch.held(module, layer)]:
            frozen = self.todo[i].site.startswith("no_")
            for span in spans:
                if span.token + span.shape[2] == self.runs.length:  # else the last token alone is computed: a later one
                    values = kept[: span.shape[0], :, span.token]
                    span.of(output)[i, ..., 0, :] = values[:, 1:] if frozen else values[:, :1]
