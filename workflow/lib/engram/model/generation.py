"""Texts that a model writes: top-k sampling in batches, where every text draws from a generator of its own.

How a batch is read token by token: engram.model.decoding. Context texts for prompts: engram.model.contexts.
Shapes: B rows, V vocabulary.
"""

import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from engram.job import seeds
from engram.model import batches, tokens
from engram.model.decoding import Decoder
from engram.model.delta import NOTHING, Delta, distinct, edited
from engram.model.loading import LM

ROWS = 320  # texts per batch
BUDGET = 2**31  # bytes of stacked dense changes in one batch


@dataclass(frozen=True)
class Row:
    """One text to write: the token ids of its prompt, the key of its generator, the edited model that writes it."""

    ids: tuple[int, ...]
    key: tuple
    delta: Delta = NOTHING


def generate(
    lm: LM,
    prompts: Sequence[str],
    keys: Sequence[tuple],
    length: int,
    top_k: int,
    deltas: Sequence[Delta] = (NOTHING,),
    which: Sequence[int] | None = None,
    rows: int = ROWS,
    budget: int = BUDGET,
) -> list[str]:
    """One sampled text per prompt, the prompt included, `length` tokens in all, cleaned by `tidy`.

    No text stops at the end token, as in the reference. The arguments are those of `token_ids`.
    """
    begin = len(tokens.start(lm.tokenizer))
    written = token_ids(lm, prompts, keys, length, top_k, deltas, which, rows, budget)
    return [tidy(tokens.decode(lm.tokenizer, ids[begin:]), lm.tokenizer) for ids in written]


def token_ids(
    lm: LM,
    prompts: Sequence[str],
    keys: Sequence[tuple],
    length: int,
    top_k: int,
    deltas: Sequence[Delta] = (NOTHING,),
    which: Sequence[int] | None = None,
    rows: int = ROWS,
    budget: int = BUDGET,
) -> list[list[int]]:
    """The `length` token ids of one sampled text per prompt, which they begin with, behind the start token.

    No text stops at the end token. `keys[i]` seeds text i, whatever else is in the batch; `which[i]` is the index of
    the delta that changes its model. Batches hold at most `rows` texts of similar length.
    """
    different, index = distinct(deltas)
    which = [index[number] for number in which or [0] * len(prompts)]
    todo = [
        Row(tuple(tokens.prompt(lm.tokenizer, prompt)), key, different[number])
        for prompt, key, number in zip(prompts, keys, which, strict=True)
    ]
    order = [(len(row.ids), number, row.ids) for row, number in zip(todo, which)]
    rows = _even(len(todo), rows) if lm.device.type == "cpu" else rows
    memory = threading.local()  # a thread's batches keep their keys and values in the same memory

    def write(own: LM, part: Sequence[Row]) -> list[list[int]]:
        return sample(own, part, length, top_k, vars(memory).setdefault("spare", []))

    return batches.map_sorted(lm, todo, write, "text", order, rows, different, which, budget)


def _even(count: int, most: int) -> int:
    """Texts per batch, at most `most`, where `count` texts make an even number of batches.

    They are few and take long, and of two cores one would wait for the last.
    """
    pairs = max(1, -(-count // (2 * most)))
    return max(1, -(-count // (2 * pairs)))


@torch.inference_mode()
def sample(lm: LM, rows: Sequence[Row], length: int, top_k: int, spare: list[Tensor] | None = None) -> list[list[int]]:
    """The token ids of one sampled text per row, `length` tokens each, prompts included.

    All start at the length of the shortest prompt; a longer one goes on with its own tokens. `spare` is memory that the
    thread's last batch has left (engram.model.decoding.Decoder).
    """
    shortest = min(len(row.ids) for row in rows)
    texts, given = tokens.pad([row.ids[:length] for row in rows], lm.device)
    texts = torch.nn.functional.pad(texts, (0, length - texts.shape[1]))
    draws = torch.tensor(np.stack([seeds.rng(*row.key).random(length) for row in rows]), device=lm.device)
    beginnings: dict[tuple, int] = {}  # equal ones are read once by the same model
    copies = [beginnings.setdefault((id(row.delta), row.ids[:shortest]), len(beginnings)) for row in rows]
    firsts = [copies.index(number) for number in range(len(beginnings))]
    decoder = Decoder(lm, length, spare)
    if shortest < length:
        with edited(lm, [rows[i].delta for i in firsts]):
            hidden = decoder.start(texts[firsts, :shortest], torch.tensor(copies, device=lm.device))
    longest = int(given.max())
    with edited(lm, [row.delta for row in rows]):
        for position in range(shortest, length):
            hidden = decoder.step(texts[:, position - 1 : position]) if position > shortest else hidden
            drawn = _draw(lm.logits(hidden), draws[:, position], top_k)[:, 0]
            own = torch.where(given > position, texts[:, position], drawn) if position < longest else drawn
            texts[:, position] = own
    decoder.leave()
    return texts.tolist()


def _draw(logits: Tensor, uniform: Tensor, top_k: int) -> Tensor:
    """Inverse-CDF draw [B, 1] from the softmax over the `top_k` largest of `logits` [B, V]; `uniform` [B] in [0, 1)."""
    best, index = logits.topk(top_k, dim=-1)
    share = best.double().softmax(-1)
    running = share @ share.new_ones(top_k, top_k).triu()  # sums; cumsum has no deterministic form on CUDA
    below = running <= uniform[:, None]
    return index.gather(1, below.sum(-1, keepdim=True).clamp(max=top_k - 1))


def tidy(text: str, tokenizer: PreTrainedTokenizerBase | None = None) -> str:
    """Generated text as the reference stores it: NFKD, blank lines joined, end and start tokens removed."""
    text = unicodedata.normalize("NFKD", text).replace("\n\n", " ")
    for token in ("<|endoftext|>", getattr(tokenizer, "eos_token", None), getattr(tokenizer, "bos_token", None)):
        text = text.replace(token, "") if token else text
    return text
