"""Context texts that a model writes, to stand before a prompt (ROME Sec. 3.1): sampled once, kept as a table.

How a text is sampled: engram.model.generation.
"""

import pandas as pd

from engram.model import generation, tokens
from engram.model.loading import LM


def sample(lm: LM, families: dict[str, dict], seed: int) -> pd.DataFrame:
    """Table `prefixes` (model, family, prefix_index, length, text) of every family {name: {starts, lengths, top_k}}.

    For each start (without any: the model's start token, else its end token) and each pair (length, count): `count`
    texts of `length` tokens, the start counted. A text depends on its start, length and number, and on nothing else in
    the table. PAPER: ROME: the end token, ten texts of 5 and ten of 10 tokens; MEMIT: five words, one text of 10 tokens
    each. DIFFERS: braces become spaces in every family (the reference does so for MEMIT only), so that a text cannot
    break a template.
    """
    rows = [
        {"model": lm.name, "family": name, "prefix_index": index, "length": length, "text": text}
        for name, family in families.items()
        for index, (length, text) in enumerate(_texts(lm, family, seed))
    ]
    return pd.DataFrame(rows)


def _texts(lm: LM, family: dict, seed: int) -> list[tuple[int, str]]:
    """The texts of one family, each behind its length in tokens."""
    sampled = []
    for start in family["starts"] or [None]:
        for length, count in family["lengths"]:
            keys = [(seed, lm.name, "prefixes", *([start] if start else []), length, i) for i in range(count)]
            begin = start or ("" if tokens.start(lm.tokenizer) else lm.tokenizer.eos_token)
            texts = generation.generate(lm, [begin] * count, keys, length, family["top_k"])
            sampled += [(length, text.replace("{", " ").replace("}", " ")) for text in texts]
    return sampled


def templates(table: pd.DataFrame, family: str) -> list[str]:
    """Templates for a prompt from one family of the table `prefixes`: "{}" first, then each text with ". {}" behind it.

    ValueError if the table has no such family.
    """
    texts = table[table["family"] == family]["text"]
    if texts.empty:
        raise ValueError(f"no context texts of the family {family!r}; the table has {sorted(set(table['family']))}")
    return ["{}", *(text + ". {}" for text in texts)]
