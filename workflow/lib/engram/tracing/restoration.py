"""Every restoration of a group of prompts in sweeps over the layers (ROME Sec. 2.1), computing only what they change.

Restoring token t after layer l leaves the layers <= l and the tokens < t as in the corrupted pass. So the clean and the
corrupted passes happen once, with everything kept (engram.tracing.passes); the restorations form a batch that grows as
the sweep reaches their layers. Restored at token t, a row holds the tokens >= t only, and attends to the corrupted keys
and values of the others. All restored tokens of all prompts of one length can be in one sweep: its rows lie side by
side in one buffer [P, W, d], which norms, projections and MLPs take whole; only the attention goes token by token, as
each has its own keys. A token before the first corrupted one is the same in both passes: restoring it gives the
corrupted probability. A prompt corrupted from a later token on is absent from the rows of the tokens before it.

Shapes: G prompts, A of them corrupted at token t already, S noise samples, T tokens, L layers, d width, H heads, k
width of a head, P restorations of a token, n = T - t tokens, C the sum of A S over the tokens t of a sweep, W that of A
S n.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from engram.tracing.passes import Passes

SITES = ("hidden", "mlp", "attn", "no_mlp", "no_attn")
_MODULE = {"mlp": "mlp", "no_mlp": "mlp", "attn": "attn", "no_attn": "attn"}


@dataclass(frozen=True)
class Restoration:
    """One restoration at some token: its pass differs from the corrupted one from the output of block `join` on.

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
        """Whether the output of `module` ("mlp" or "attn") in `layer` is held at a kept value, after block `join`."""
        return _MODULE.get(self.site) == module and self.join < layer < self.stop


def window(layer: int, width: int, layers: int) -> tuple[int, int]:
    """First and last + 1 layer of the window of `width` layers centred at `layer`, clipped to the model.

    PAPER: ROME Sec. 2.2 writes l-4 .. l+5 for ten layers.
    DIFFERS: the code that made the paper's figures restores l-5 .. l+4, and so does this.
    """
    begin = layer - width // 2
    return max(0, begin), min(layers, begin + width)


def restorations(sites: Sequence[str], width: int, layers: int) -> list[Restoration]:
    """The restorations of one token at `sites` in all layers, in the order in which a sweep reaches them.

    Windows are `width` layers wide; those that become equal where the model ends are one restoration.
    """
    centres: dict[tuple[int, int, int], list[int]] = {}
    for site in sites:
        for layer in range(layers):
            join, stop = window(layer, width, layers) if site in ("mlp", "attn") else (layer, layers)
            centres.setdefault((join, SITES.index(site), stop), []).append(layer)
    return [Restoration(SITES[site], join, stop, tuple(own)) for (join, site, stop), own in sorted(centres.items())]


def starting_states(passes: Passes, todo: Sequence[Restoration]) -> Tensor:
    """For each restoration of `todo` the output of its block `join` with every token restored: [P, G, S, T, d].

    A restoration at token t takes its state from token t.
    """
    return torch.stack([_starting_state(passes, restored) for restored in todo])


def _starting_state(passes: Passes, restored: Restoration) -> Tensor:
    layer, adapter = restored.join, passes.adapter
    before, attn, mlp = passes.boundary[layer], passes.attn[layer], passes.mlp[layer]
    if restored.site == "mlp":
        return adapter.add(layer, "mlp", adapter.add(layer, "attn", before[:, 1:], attn[:, 1:]), mlp[:, :1])
    if restored.site == "attn":
        attended = adapter.add(layer, "attn", before[:, 1:], attn[:, :1])
        output = mlp[:, 1:] if adapter.parallel else adapter.mlp(layer, before[:, 1:], attended)
        return adapter.add(layer, "mlp", attended, output)
    return passes.boundary[layer + 1][:, :1].expand(-1, passes.samples, -1, -1)


@dataclass(frozen=True)
class Span:
    """The rows of one restored token in a sweep's buffers [P, W, ..]: A prompts, S samples, n positions from it on."""

    token: int
    begin: int
    shape: tuple[int, int, int]  # A, S, n

    @property
    def end(self) -> int:
        """The row behind the last one."""
        return self.begin + prod(self.shape)

    def of(self, x: Tensor, dim: int = 1) -> Tensor:
        """The token's rows [P, A, S, n, ..] of a buffer [P, W, ..], a view; W is the dimension `dim`."""
        return x.narrow(dim, self.begin, prod(self.shape)).unflatten(dim, self.shape)

    def positions(self, device: torch.device) -> Tensor:
        """The positions in their prompts of the token's rows [A S n]."""
        return torch.arange(self.token, self.token + self.shape[2], device=device).repeat(prod(self.shape[:2]))


def _spans(passes: Passes, tokens: Sequence[int], most: int) -> list[Span]:
    """The rows of restored tokens side by side, at most `most` positions of each pass."""
    spans: list[Span] = []
    for token in tokens:
        shape = (passes.active(token), passes.samples, min(most, passes.length - token))
        spans.append(Span(token, spans[-1].end if spans else 0, shape))
    return spans


def sweeps(tokens: Sequence[int], positions: Callable[[int], int], rows: int) -> list[list[int]]:
    """Which of the restored tokens go through the layers together: those with `rows` positions at most, or one token.

    `positions(token)` is how many positions a restoration at that token computes.
    """
    parts: list[list[int]] = []
    left = 0
    for token in tokens:
        if not parts or positions(token) > left:
            parts.append([])
            left = rows
        parts[-1].append(token)
        left -= positions(token)
    return parts


def restore(
    passes: Passes, tokens: Sequence[int], todo: Sequence[Restoration], starts: Tensor, size: int, rows: int
) -> Tensor:
    """p(answer) [t, P, G, S] in float64 with each restoration of `todo` at each of t ascending tokens.

    `starts` are the `starting_states` of `todo`. `size` restorations of a token are computed at a time, and `rows`
    positions of each, or those of one token.
    """
    scores = passes.probability[:, 1:].repeat(len(tokens), len(todo), 1, 1)  # what cannot reach the end changes nothing
    done = sum(not passes.active(token) for token in tokens)
    for part in sweeps(tokens[done:], passes.positions, rows):
        at_last_token = part[-1] == passes.length - 1
        live = sum(at_last_token or restored.join < passes.adapter.layers - 1 for restored in todo)
        for i in range(0, live, size):
            some = slice(i, min(i + size, live))
            _Sweep(passes, part, todo[some], starts[some]).fill(scores[done : done + len(part), some])
        done += len(part)
    return scores


class _Sweep:
    """The restorations `todo` (sorted by `join`) at `tokens`, each joining after its layer from `starts`.

    starts: [P, G, S, T, d], the `starting_states` of `todo`.
    """

    def __init__(self, passes: Passes, tokens: Sequence[int], todo: Sequence[Restoration], starts: Tensor) -> None:
        self.passes, self.adapter, self.todo, self.starts = passes, passes.adapter, todo, starts
        self.final = self.adapter.layers - 1
        self.before = sum(restored.join < self.final for restored in todo)  # the others join after the last layer
        self.spans, self.single = _spans(passes, tokens, passes.length), _spans(passes, tokens, 1)
        self.positions, self.first = (
            torch.cat([span.positions(starts.device) for span in spans]) for spans in (self.spans, self.single)
        )
        most = passes.heads[0][:, : self.spans[-1].shape[0], 1:].numel()
        self.memory = starts.new_empty(self.before * most)  # for q, k, v of any token and layer: one allocation

    def fill(self, scores: Tensor) -> None:
        """Put p(answer) into scores [t, P, G, S], but leave what cannot reach the last position."""
        ends = self._ends()
        late = self.starts[self.before :, ..., -1, :]  # at the last token; without it among the tokens there are none
        owners = [self.passes.answers[: span.shape[0]].repeat_interleave(span.shape[1]) for span in self.single]
        answers = torch.cat((torch.cat(owners).repeat(len(ends)), owners[-1].repeat(len(late))))
        values = self.adapter.probability(torch.cat((ends.flatten(0, 1), late.flatten(0, 2))), answers)
        values, after = values.split((len(ends) * ends.shape[1], late[..., 0].numel()))
        for span, into in zip(self.single, scores):
            into[: len(ends), : span.shape[0]] = span.of(values.view(ends.shape[:2]))[..., 0]
        scores[-1, len(ends) :] = after.view(late.shape[:-1])

    def _ends(self) -> Tensor:
        """The last block's output at the last position [P, C, d], of the restorations that join before it."""
        x = self.starts.new_empty(self.before, self.spans[-1].end, self.starts.shape[-1])
        ends, old = x[:, : self.single[-1].end], 0
        for layer in range(self.todo[0].join + 1, self.adapter.layers):
            new = sum(restored.join < layer for restored in self.todo)
            self._join(layer, x[:new], old)
            ends, old = self._block(layer, x[:new], old), new
        return ends

    def _block(self, layer: int, x: Tensor, old: int) -> Tensor:
        """The block's output, written over its input x [P, W, d]; in the last layer only the last position's [P, C, d].

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

    def _column(self, x: Tensor, at: int) -> Tensor:
        """The first (0) or last (-1) position of every run: [P, C, d] of [P, W, d]."""
        return torch.cat([span.of(x)[..., at, :].flatten(1, 2) for span in self.spans], 1)

    def _join(self, layer: int, x: Tensor, old: int) -> None:
        """Let the restorations from `old` on be the corrupted passes before `layer`, but for the token restored."""
        for span in self.spans:
            rows, active = span.of(x)[old:], span.shape[0]
            rows[:] = self.passes.boundary[layer][:active, 1:, span.token :]
            rows[..., 0, :] = self.starts[old : len(x), :active, :, span.token]

    def _mixed(self, layer: int, x: Tensor, old: int) -> Tensor:
        """What the heads read [P, W, H, k], in the last layer [P, C, H, k], from the block's input x [P, W, d]."""
        moving = self.adapter.heads(layer, x[:old], self.positions)
        joining = self.adapter.heads(layer, self._column(x[old:], 0), self.first)
        asked = self.single if layer == self.final else self.spans
        mixed = x.new_empty(len(x), asked[-1].end, *self.passes.heads[layer].shape[3::2])
        for span, single, part in zip(self.spans, self.single, asked):
            q, k, v = self._heads(layer, span, span.of(moving, 3), single.of(joining, 3))
            read = self.adapter.mix(layer, q[:, :, -part.shape[2] :], k, v)
            part.of(mixed)[:] = read.unflatten(0, (len(x), *part.shape[:2]))
        return mixed

    def _heads(self, layer: int, span: Span, moving: Tensor, joining: Tensor) -> Tensor:
        """q, k, v [3, P A S, H, T, k] of one token, in the sweep's memory; tokens before it as in the corrupted pass.

        moving [3, P, H, A, S, n, k]: those of restorations that have joined; joining [.., 1, k]: those of the first
        position of the restorations that follow.
        """
        token, old, new = span.token, moving.shape[1], moving.shape[1] + joining.shape[1]
        cached = self.passes.heads[layer][:, None, : span.shape[0], 1:]
        full = self.memory[: cached.numel() * new].view(3, new, *cached.shape[2:])
        full[1:, ..., :token, :] = cached[1:, ..., :token, :]  # nobody asks for their queries
        full[:, :old, ..., token:, :] = moving.movedim(2, 4)
        full[:, old:, ..., token : token + 1, :] = joining.movedim(2, 4)
        full[:, old:, ..., token + 1 :, :] = cached[..., token + 1 :, :]
        return full.flatten(1, 3)

    def _hold(self, layer: int, module: str, output: Tensor, spans: list[Span]) -> None:
        """Put the held values of `module` at the restored tokens into its output [P, W or C, d], in place."""
        kept = (self.passes.attn if module == "attn" else self.passes.mlp)[layer]
        for i in [i for i, restored in enumerate(self.todo[: len(output)]) if restored.held(module, layer)]:
            severed = self.todo[i].site.startswith("no_")
            for span in spans:
                if (
                    span.token + span.shape[2] == self.passes.length
                ):  # else only the last token, a later one, is computed
                    values = kept[: span.shape[0], :, span.token]
                    span.of(output)[i, ..., 0, :] = values[:, 1:] if severed else values[:, :1]
