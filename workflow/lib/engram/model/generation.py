"""Top-k sampling, batched with a KV cache; every row draws from its own generator.

Shapes: B rows, V vocabulary.
"""

import threading
import unicodedata
from dataclasses import dataclass

import numpy as np
import torch

from engram.job import seeds
from engram.model import batches, tokens
from engram.model.decoding import Decoder
from engram.model.delta import NOTHING, Delta, distinct, edited

ROWS = 320  # texts per batch
BUDGET = 2**31  # bytes of stacked dense changes in one batch


@dataclass(frozen=True)
class Row:
    """One text to write: ids of its prompt, the key of its generator, the edited model that writes it."""

    ids: tuple[int, ...]
    key: tuple
    delta: Delta = NOTHING


def generate(
    lm,
    prompts: list[str],
    keys: list[tuple],
    length: int,
    top_k: int,
    deltas: list[Delta] = (NOTHING,),
    which: list[int] | None = None,
    rows: int = ROWS,
    budget: int = BUDGET,
) -> list[str]:
    """One sample per prompt of `length` tokens in all, prompt included; no stop at the end token, as in the reference.

    `keys[i]` seeds row i, whatever else is in the batch; `which[i]` is the delta that row i runs through. Batches hold
    at most `rows` prompts of similar length. Returns texts with the prompt, cleaned by `tidy`.
    """
    different, index = distinct(list(deltas))
    which = [index[number] for number in which or [0] * len(prompts)]
    todo = [
        Row(tuple(tokens.prompt(lm.tokenizer, prompt)), key, different[number])
        for prompt, key, number in zip(prompts, keys, which, strict=True)
    ]
    order = [(len(row.ids), number, row.ids) for row, number in zip(todo, which)]
    rows = _even(len(todo), rows) if lm.device.type == "cpu" else rows
    parts = batches.sorted_batches(lm, different, which, order, rows, budget)
    memory = threading.local()  # a thread's batches keep their keys and values in the same place
    found = batches.map_batches(
        lm,
        [[todo[i] for i in part] for part in parts],
        lambda own, some: sample(own, some, length, top_k, vars(memory).setdefault("spare", [])),
        "text",
    )
    texts: list[str | None] = [None] * len(todo)
    for part, sampled in zip(parts, found):
        for i, ids in zip(part, sampled):
            texts[i] = tidy(lm.tokenizer.decode(ids[len(tokens.start(lm.tokenizer)) :]), lm.tokenizer)
    return texts


def _even(count: int, most: int) -> int:
    """Texts per batch, at most `most`, where `count` texts make an even number of batches.

    They are few and take long, and of two cores one would wait for the last.
    """
    pairs = max(1, -(-count // (2 * most)))
    return max(1, -(-count // (2 * pairs)))


@torch.inference_mode()
def sample(lm, rows: list[Row], length: int, top_k: int, spare: list | None = None) -> list[list[int]]:
    """The ids of texts of `length` tokens, prompts included. All start at the length of the shortest prompt; a longer
    one goes on with its own tokens.
    """
    shortest = min(len(row.ids) for row in rows)
    texts, given = tokens.pad([row.ids[:length] for row in rows], lm.device)
    texts = torch.nn.functional.pad(texts, (0, length - texts.shape[1]))
    draws = torch.tensor(np.stack([seeds.rng(*row.key).random(length) for row in rows]), device=lm.device)
    first, copies = {}, []  # equal beginnings read by the same model are read once
    for i, row in enumerate(rows):
        copies.append(first.setdefault((id(row.delta), row.ids[:shortest]), (len(first), i))[0])
    some = [i for _, i in first.values()]
    decoder = Decoder(lm, length, spare)
    if shortest < length:
        with edited(lm, [rows[i].delta for i in some]):
            hidden = decoder.start(texts[some, :shortest], torch.tensor(copies, device=lm.device))
    longest = int(given.max())
    with edited(lm, [row.delta for row in rows]):
        for at in range(shortest, length):
            hidden = decoder.step(texts[:, at - 1 : at]) if at > shortest else hidden
            drawn = _draw(lm.logits(hidden), draws[:, at], top_k)[:, 0]
            texts[:, at] = torch.where(given > at, texts[:, at], drawn) if at < longest else drawn
    decoder.leave()
    return texts.tolist()


def _draw(logits: torch.Tensor, uniform: torch.Tensor, top_k: int) -> torch.Tensor:
    """Inverse-CDF draw [B, 1] from the softmax over the `top_k` largest of `logits` [B, V], one uniform number a
    row.
    """
    best, index = logits.topk(top_k, dim=-1)
    share = best.double().softmax(-1)
    below = (
        share @ share.new_ones(top_k, top_k).triu() <= uniform[:, None]
    )  # running sums; cumsum has no deterministic CUDA form
    return index.gather(1, below.sum(-1, keepdim=True).clamp(max=top_k - 1))


def tidy(text: str, tokenizer=None) -> str:
    """Generated text as the reference stores it: NFKD, blank lines joined, end tokens removed, and the tokenizer's
    own.
    """
    text = unicodedata.normalize("NFKD", text).replace("\n\n", " ")
    for token in ("<|endoftext|>", getattr(tokenizer, "eos_token", None), getattr(tokenizer, "bos_token", None)):
        text = text.replace(token, "") if token else text
    return text
