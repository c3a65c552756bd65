"""The clean run and the corrupted runs of a group of prompts, with everything kept that a restoration starts from.

Shapes: G prompts of one length T, S noise samples, L layers, d width, H heads, k width of a head.
"""

from dataclasses import dataclass

import torch

from engram.model.adapters import Adapter


@dataclass(frozen=True)
class Runs:
    """In each prompt row 0 is the clean run, the rows from 1 on are corrupted.

    boundary: L + 1 block inputs [G, 1 + S, T, d], the last one the output of the last block; attn, mlp: outputs of the
    L modules, same shape; heads: L tensors q, k, v [3, G, 1 + S, H, T, k]; begins: the first corrupted token of each
    prompt, ascending; answers: the token ids whose probability counts [G]; probability: of the answer, float64 [G, 1 +
    S].
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

    def positions(self, token: int) -> int:
        """How many positions of all prompts a restoration at `token` computes."""
        return self.active(token) * (self.length - token)


def run(adapter: Adapter, embeddings: torch.Tensor, begins: tuple, answers: torch.Tensor) -> Runs:
    """Run token embeddings [G, 1 + S, T, d], in each prompt row 0 clean and the others corrupted from `begins` [G]
    on.
    """
    shape = embeddings.shape[:2]
    x = adapter.enter(embeddings.flatten(0, 1))
    kept = {"boundary": [x.unflatten(0, shape)], "attn": [], "mlp": [], "heads": []}
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
    return Runs(adapter, begins=begins, answers=answers, probability=probability, **kept)
