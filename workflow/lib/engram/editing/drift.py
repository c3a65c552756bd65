"""Drift: how well edited models predict text that training did not see. No metric is computed here.

What an edit is meant to change does not count: of a passage that names its subject, the tokens of the object that it
replaces are left out, for the unedited model too, so that both are measured on the same tokens.
"""

import re
from dataclasses import dataclass, replace

import pandas as pd

from engram.model import scoring, tokens
from engram.model.delta import Delta
from engram.model.loading import LM
from engram.settings.sections import Perplexity as Settings

COLUMNS = {"case_id": "int64", "passage_id": "int64", "nll": "float64", "nll_before": "float64", "tokens": "int64"}


@dataclass(frozen=True)
class Passage:
    """The first tokens of a held-out text, and how well the unedited model predicts them."""

    passage_id: int
    text: str  # what the tokens say
    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]  # the characters [begin, end) of each token; a start token has none
    before: tuple[float, ...]  # the unedited model's negative log-likelihood of each token but the first

    def counted(self, replaced: list[tuple[str, str]]) -> list[int]:
        """Positions of the tokens that count: all but the first, and but those of objects that an edit replaced.

        `replaced` are pairs (subject, object); an object is left out where the passage names its subject.
        """
        left_out = [
            match.span()
            for subject, name in replaced
            if subject in self.text
            for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", self.text)
        ]
        return [
            position
            for position in range(1, len(self.ids))
            if not any(begin < self.spans[position][1] and self.spans[position][0] < end for begin, end in left_out)
        ]


@dataclass(frozen=True)
class Heldout:
    """What edited models read, how many of them do, and how many records each holds."""

    passages: tuple[Passage, ...]
    models: int
    size: int = 1

    def after(self, records: int, size: int) -> "Heldout":
        """What is left to read, for models of `size` records each, once those of the first `records` have read."""
        return replace(self, models=max(0, self.models - records // size), size=size)


def heldout(lm: LM, texts: pd.DataFrame, settings: Settings) -> Heldout:
    """The first passages of `texts` (table `heldout`: passage_id, text) with enough tokens, as the unedited `lm` reads
    them.

    ValueError if they are fewer than `settings.passages`.
    """
    passages: list[Passage] = []
    for row in texts.itertuples():
        ids = tokens.prompt(lm.tokenizer, row.text)[: settings.tokens]
        if len(ids) == settings.tokens and len(passages) < settings.passages:
            first = len(tokens.start(lm.tokenizer))
            offsets = lm.tokenizer(row.text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            spans = ((0, 0),) * first + tuple((begin, end) for begin, end in offsets[: len(ids) - first])
            passages.append(Passage(int(row.passage_id), row.text[: spans[-1][1]], tuple(ids), spans, ()))
    if len(passages) < settings.passages:
        raise ValueError(
            f"{settings.passages} passages of {settings.tokens} tokens are wanted (edit.perplexity); the source "
            f"keeps {len(passages)} of {len(texts)} from training that are long enough"
        )
    queries = [
        scoring.Query(0, passage.ids[:position], passage.ids[position : position + 1])
        for passage in passages
        for position in range(1, settings.tokens)
    ]
    scores = iter(scoring.score(lm, queries))
    read = (replace(passage, before=tuple(next(scores).nll for _ in passage.ids[1:])) for passage in passages)
    return Heldout(tuple(read), settings.models)


def table(
    lm: LM, rows: pd.DataFrame, changes: list[Delta], read: list[Delta], held: Heldout | None, batch: int, budget: int
) -> pd.DataFrame:
    """Table `drift`: case_id, passage_id, nll, nll_before, tokens; one row per edited model and passage.

    nll and nll_before, of the edited and of the unedited model, are per token (natural log). Record i is held by the
    model with `changes[i]`, `held.size` records by one, under the case_id of the first; `read[i]` is what still has to
    be added to `lm` as it is now. Batches hold `batch` sequences, `budget` bytes of dense changes. A passage without a
    token that counts has no row; without `held` there is none.
    """
    if held is None:
        return pd.DataFrame([], columns=list(COLUMNS)).astype(COLUMNS)
    queries, asked = [], []
    for first in range(0, len(rows), held.size)[: held.models]:
        replaced = _replaced(rows[first : first + held.size]) if changes[first].parts else []
        for passage in held.passages:
            counted = passage.counted(replaced)
            runs = _runs(counted)
            queries += [scoring.Query(first, passage.ids[:begin], passage.ids[begin:end]) for begin, end in runs]
            asked.append((rows["case_id"].iloc[first], passage, counted, runs))
    scores = iter(scoring.score(lm, queries, read, batch, "passage", budget) if queries else [])
    lines = []
    for case_id, passage, counted, runs in asked:
        total = sum(next(scores).nll * (end - begin) for begin, end in runs)
        if counted:
            before = sum(passage.before[position - 1] for position in counted)
            lines.append((case_id, passage.passage_id, total / len(counted), before / len(counted), len(counted)))
    return pd.DataFrame(lines, columns=list(COLUMNS)).astype(COLUMNS)


def _replaced(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs (subject, object) of what the edits of these records replace."""
    return list(zip(rows["subject"], rows["target_true"]))


def _runs(positions: list[int]) -> list[tuple[int, int]]:
    """Ascending `positions` as ranges [begin, end) of neighbours."""
    members = set(positions)
    begins = [position for position in positions if position - 1 not in members]
    ends = [position + 1 for position in positions if position + 1 not in members]
    return list(zip(begins, ends))
