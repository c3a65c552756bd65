"""Drift: how well edited models predict text that training did not see. No metric is computed here.

What an edit is meant to change does not count: of a passage that names its subject, the tokens of the object that it
replaces are left out, for the unedited model too, so that both are measured on the same tokens.
"""

import re
from dataclasses import dataclass, replace

import pandas as pd

from engram.model import scoring, tokens
from engram.model.delta import Delta

COLUMNS = {"case_id": "int64", "passage_id": "int64", "nll": "float64", "nll_before": "float64", "tokens": "int64"}


@dataclass(frozen=True)
class Settings:
    """Block `edit.perplexity` of params.yaml."""

    passages: int = 8  # read by every edited model; 0: none
    tokens: int = 64  # of a passage, its first
    models: int = 20  # edited models that read them, the first at any number of facts


@dataclass(frozen=True)
class Passage:
    """The first tokens of a text: what they say, their ids, the characters [b, e) of each (a start token has none), and
    the unedited model's negative log-likelihood of each but the first.
    """

    passage_id: int
    text: str
    ids: tuple[int, ...]
    places: tuple[tuple[int, int], ...]
    before: tuple[float, ...]

    def counted(self, replaced: list[tuple[str, str]]) -> list[int]:
        """The tokens, but the first, that hold no object of the (subject, object) in `replaced` whose subject is
        named.
        """
        taken = [
            found.span()
            for subject, name in replaced
            if subject in self.text
            for found in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", self.text)
        ]
        return [
            at
            for at in range(1, len(self.ids))
            if not any(begin < self.places[at][1] and self.places[at][0] < end for begin, end in taken)
        ]


@dataclass(frozen=True)
class Heldout:
    """What edited models read, how many of them do, and how many records each holds."""

    passages: tuple[Passage, ...]
    models: int
    size: int = 1

    def after(self, records: int, size: int) -> "Heldout":
        """The same for models of `size` records each, once those of the first `records` have read it."""
        return replace(self, models=max(0, self.models - records // size), size=size)


def heldout(lm, texts: pd.DataFrame, settings: Settings) -> Heldout:
    """The first of `texts` (table `heldout`) that have enough tokens, as the unedited model reads them. ValueError if
    those are too few.
    """
    found = []
    for row in texts.itertuples():
        ids = tokens.prompt(lm.tokenizer, row.text)[: settings.tokens]
        if len(ids) == settings.tokens and len(found) < settings.passages:
            first = len(tokens.start(lm.tokenizer))
            offsets = lm.tokenizer(row.text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            places = ((0, 0),) * first + tuple(map(tuple, offsets[: len(ids) - first]))
            found.append(Passage(int(row.passage_id), row.text[: places[-1][1]], tuple(ids), places, ()))
    if len(found) < settings.passages:
        raise ValueError(
            f"{settings.passages} passages of {settings.tokens} tokens are wanted (edit.perplexity); the source "
            f"keeps {len(found)} of {len(texts)} from training that are long enough"
        )
    asked = [(one, at) for one in found for at in range(1, settings.tokens)]
    scores = iter(scoring.score(lm, [scoring.Query(0, one.ids[:at], one.ids[at : at + 1]) for one, at in asked]))
    passages = [replace(one, before=tuple(next(scores).nll for _ in one.ids[1:])) for one in found]
    return Heldout(tuple(passages), settings.models)


def table(
    lm, rows: pd.DataFrame, changes: list[Delta], read: list[Delta], held: Heldout | None, rows_of: int, budget: int
) -> pd.DataFrame:
    """Table `drift`: case_id, passage_id, nll, nll_before (per token, natural log), tokens. One row per edited model
    and passage.

    Record i is held by the model with `changes[i]`, `held.size` records by one, under the case_id of the first. `read`:
    what has to be added to the model as it is now. A passage of which no token counts has no row.
    """
    queries, spans, keys = [], [], []
    for first in range(0, len(rows), held.size)[: held.models] if held else ():
        replaced = _replaced(rows[first : first + held.size]) if changes[first].parts else []
        for passage in held.passages:
            counted = passage.counted(replaced)
            spans.append(_spans(counted))
            queries += [scoring.Query(first, passage.ids[:at], passage.ids[at:end]) for at, end in spans[-1]]
            keys.append((rows["case_id"].iloc[first], passage, counted))
    scores = iter(scoring.score(lm, queries, read, rows_of, "passage", budget) if queries else [])
    found = []
    for (case_id, passage, counted), own in zip(keys, spans, strict=True):
        total = sum(next(scores).nll * (end - at) for at, end in own)
        if counted:
            before = sum(passage.before[at - 1] for at in counted)
            found.append((case_id, passage.passage_id, total / len(counted), before / len(counted), len(counted)))
    return pd.DataFrame(found, columns=list(COLUMNS)).astype(COLUMNS)


def _replaced(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """(subject, object) of what the edits of these records replace; zsRE calls the object the answer."""
    return list(zip(rows["subject"], rows["target_true"] if "target_true" in rows else rows["answer"]))


def _spans(places: list[int]) -> list[tuple[int, int]]:
    """The runs [b, e) of ascending numbers that follow each other."""
    starts = [at for at in places if at - 1 not in set(places)]
    ends = [at + 1 for at in places if at + 1 not in set(places)]
    return list(zip(starts, ends))
