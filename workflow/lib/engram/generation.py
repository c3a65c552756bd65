"""Top-k sampling, batched with a KV cache; every row draws from its own generator (spec: 2.4, 5.2).

Shapes: B rows, V vocabulary.
"""

import unicodedata

import numpy as np
import torch
from transformers import DynamicCache

from engram import progress, seeds, tokens
from engram.delta import NOTHING, Delta, edited


def generate(lm, prompts: list[str], keys: list[tuple], length: int, top_k: int, deltas: list[Delta] = (NOTHING,),
             which: list[int] | None = None, rows: int = 256) -> list[str]:
    """One sample per prompt of `length` tokens in all, prompt included; no stop at the end token, as in the reference.

    `keys[i]` seeds row i, whatever else is in the batch; `which[i]` is the delta that row i runs through. Prompts of equal
    token length share a batch, so nothing is padded. Returns texts with the prompt, cleaned by `tidy`.
    """
    ids = [tokens.encode(lm.tokenizer, prompt) for prompt in prompts]
    which = which or [0] * len(prompts)
    order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), i))
    batches = [group[start : start + rows] for group in _equal_length(order, ids) for start in range(0, len(group), rows)]
    texts: list[str | None] = [None] * len(ids)
    with progress.bar(None, "generate", "text", total=len(ids)) as bar:
        for batch in batches:
            uniforms = [seeds.rng(*keys[i]).random(length) for i in batch]
            sampled = _sample(lm, [ids[i] for i in batch], uniforms, length, top_k, [deltas[which[i]] for i in batch])
            for i, row in zip(batch, sampled):
                texts[i] = tidy(lm.tokenizer.decode(row))
            bar.update(len(batch))
    return texts


def _equal_length(order: list[int], ids: list[list[int]]) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for i in order:
        groups.setdefault(len(ids[i]), []).append(i)
    return list(groups.values())


@torch.no_grad()
def _sample(lm, ids: list[list[int]], uniforms, length: int, top_k: int, deltas: list[Delta]) -> list[list[int]]:
    sequence = torch.tensor(ids, device=lm.device)
    draws = torch.tensor(np.stack(uniforms), device=lm.device)
    cache, step = DynamicCache(config=lm.model.config), sequence
    with edited(lm, deltas):
        while sequence.shape[1] < length:
            hidden = lm.model.base_model(input_ids=step, past_key_values=cache, use_cache=True).last_hidden_state[:, -1]
            step = _draw(lm.module("head")(hidden), draws[:, sequence.shape[1]], top_k)
            sequence = torch.cat([sequence, step], dim=1)
    return sequence.tolist()


def _draw(logits: torch.Tensor, uniform: torch.Tensor, top_k: int) -> torch.Tensor:
    """Inverse-CDF draw [B, 1] from the softmax over the `top_k` largest of `logits` [B, V], one uniform number a row."""
    best, index = logits.double().topk(top_k, dim=-1)
    below = best.softmax(-1).cumsum(-1) <= uniform[:, None]
    return index.gather(1, below.sum(-1, keepdim=True).clamp(max=top_k - 1))


def tidy(text: str) -> str:
    """Generated text as the reference stores it: NFKD, blank lines joined, end tokens removed."""
    return unicodedata.normalize("NFKD", text).replace("\n\n", " ").replace("<|endoftext|>", "")


def prefixes(lm, lengths: list[tuple[int, int]], top_k: int, key: tuple, rows: int = 256) -> list[tuple[int, str]]:
    """Context texts sampled from the end token alone: for every (length, count), `count` texts of `length` tokens in all.

    DIFFERS: braces become spaces in every family (the reference does so for MEMIT only), so that a context cannot break a
    template.
    """
    found = []
    for length, count in lengths:
        keys = [(*key, length, i) for i in range(count)]
        texts = generate(lm, [lm.tokenizer.eos_token] * count, keys, length, top_k, rows=rows)
        found += [(length, text.replace("{", " ").replace("}", " ")) for text in texts]
    return found


def contexts(texts: list[str]) -> list[str]:
    """Templates for a prompt: the bare one first, then one per context text."""
    return ["{}"] + [text + ". {}" for text in texts]
