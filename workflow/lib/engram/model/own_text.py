"""Text that a model writes itself: where there is no other, its keys are counted on it and it is read after edits."""

import pandas as pd

from engram.job import schemas
from engram.model import generation, tokens
from engram.model.loading import LM
from engram.settings.sections import Sampled

BREAK = "\n"  # what a text begins behind, for a model without a start token
ROWS = 40  # texts at a time: few, for each keeps keys and values of all its tokens


def sample(lm: LM, settings: Sampled, seed: int) -> dict[str, pd.DataFrame]:
    """Tables `text` (article_id, title, text) and `heldout` (passage_id, text): texts of at most `settings.tokens`.

    Each begins behind the model's start token, or a line break if it has none, is drawn from the `settings.top_k`
    likeliest tokens by a generator of its own, and ends before its first end token. One that is empty then is left out.
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
    begin, end = "" if tokens.start(lm.tokenizer) else BREAK, lm.tokenizer.eos_token
    keys = [(seed, lm.name, "sampled", what, number) for number in range(count)]
    length = settings.tokens + len(tokens.prompt(lm.tokenizer, begin))
    written = generation.generate(lm, [begin] * count, keys, length, settings.top_k, rows=ROWS) if count else []
    return [(text.split(end)[0] if end else text).strip() for text in written]
