"""Text that a model writes itself: where there is no other, its keys are counted on it and it is read after edits."""

from itertools import takewhile

import pandas as pd

from engram.job import schemas
from engram.model import generation, tokens
from engram.model.loading import LM
from engram.settings.sections import Sampled

BREAK = "\n"  # what a text begins behind, for a model without a start token
ROWS = 40  # texts at a time: few, for each keeps keys and values of all its tokens


def sample(lm: LM, settings: Sampled, seed: int) -> dict[str, pd.DataFrame]:
    """Tables `text` (article_id, title, text) and `heldout` (passage_id, text): texts of at most `settings.tokens`.

    A model with fewer positions fills those. Each text begins behind the model's start token, or a line break if it
    has none, is drawn from the `settings.top_k` likeliest tokens by a generator of its own, and ends before its first
    end token. One that is empty then is left out.
    """
    texts = _texts(lm, settings, seed, "text", settings.passages)
    heldout = _texts(lm, settings, seed, "heldout", settings.heldout)
    return {
        "text": schemas.ARTICLES.frame(
            [{"article_id": i, "title": f"sample {i}", "text": text} for i, text in enumerate(texts) if text]
        ),
        "heldout": schemas.HELDOUT.frame([{"passage_id": i, "text": text} for i, text in enumerate(heldout) if text]),
    }


def _texts(lm: LM, settings: Sampled, seed: int, what: str, count: int) -> list[str]:
    begin = "" if tokens.start(lm.tokenizer) else BREAK
    before = len(tokens.prompt(lm.tokenizer, begin))
    keys = [(seed, lm.name, "sampled", what, number) for number in range(count)]
    length = min(before + settings.tokens, lm.model.config.max_position_embeddings)
    written = generation.token_ids(lm, [begin] * count, keys, length, settings.top_k, rows=ROWS) if count else []
    ends = _ends(lm)
    cut = [list(takewhile(lambda token: token not in ends, ids[before:])) for ids in written]
    return [tokens.decode(lm.tokenizer, ids).strip() for ids in cut]


def _ends(lm: LM) -> set[int | None]:
    """The tokens that end a text: the tokenizer's, and those that the model is published with."""
    about = lm.model.generation_config
    more = about.eos_token_id if about else None
    return {lm.tokenizer.eos_token_id, *(more if isinstance(more, list) else [more])}
