"""The clean pass and the corrupted passes of a group of prompts, with everything kept that a restoration starts from.

How prompts are corrupted: engram.tracing.noise. What is computed from these passes: engram.tracing.restoration.
Shapes: G prompts of one length T, S noise samples, L layers, d width, H heads, k width of a head.
"""

from dataclasses import dataclass

from torch import Tensor

from engram.model.adapters import Adapter


@dataclass(frozen=True)
class Passes:
    """One clean pass and S corrupted passes of each of G prompts: row 0 of a prompt is clean, the others corrupted.

    boundary: L + 1 block inputs [G, 1 + S, T, d], the last one the output of the last block; attn, mlp: outputs of the
    L modules, same shape; heads: L tensors q, k, v [3, G, 1 + S, H, T, k]; begins: the first corrupted token of each
    prompt, ascending; answers: the token ids whose probability counts [G]; probability: of the answer, float64 [G, 1 +
    S].
    """

    adapter: Adapter
    boundary: list[Tensor]
    attn: list[Tensor]
    mlp: list[Tensor]
    heads: list[Tensor]
    begins: tuple[int, ...]
    answers: Tensor
    probability: Tensor

    @property
    def samples(self) -> int:
        """The number S of noise samples."""
        return self.probability.shape[1] - 1

    @property
    def length(self) -> int:
        """The number T of tokens of each prompt."""
        return self.adapter.length

    def active(self, token: int) -> int:
        """How many prompts, the first ones, are corrupted at `token` or before it."""
        return sum(begin <= token for begin in self.begins)

    def positions(self, token: int) -> int:
        """How many positions of all prompts a restoration at `token` computes."""
        return self.active(token) * (self.length - token)


def clean_and_corrupted(adapter: Adapter, embeddings: Tensor, begins: tuple[int, ...], answers: Tensor) -> Passes:
    """The Passes of token embeddings [G, 1 + S, T, d]: in each prompt row 0 clean, the others corrupted from `begins`.

    `begins` [G] ascending, `answers` [G] token ids.
    """
    shape = embeddings.shape[:2]
    x = adapter.enter(embeddings.flatten(0, 1))
    kept: dict[str, list[Tensor]] = {"boundary": [x.unflatten(0, shape)], "attn": [], "mlp": [], "heads": []}
    for layer in range(adapter.layers):
        heads = adapter.heads(layer, x, 0).contiguous()
        attn = adapter.attention(layer, *heads)
        attended = adapter.add(layer, "attn", x, attn)
        mlp = adapter.mlp(layer, x, attended)
        x = adapter.add(layer, "mlp", attended, mlp)
        kept["heads"].append(heads.unflatten(1, shape))
        for name, value in (("boundary", x), ("attn", attn), ("mlp", mlp)):
            kept[name].append(value.unflatten(0, shape))
    probability = adapter.probability(x[:, -1], answers.repeat_interleave(shape[1])).view(shape)
    return Passes(adapter, begins=begins, answers=answers, probability=probability, **kept)
