"""How facts reach edited models: alone, many at once, or in batches one after another; the models are read on the way.

What one edited model says is written down by engram.editing.outcomes; the change itself is an editor's.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from engram.editing import drift, editor, outcomes, records
from engram.editing.facts import Fact
from engram.model.delta import NOTHING, Delta, applied
from engram.model.loading import LM
from engram.settings.fact_groups import FactGroup

Tables = dict[str, pd.DataFrame]  # those of `outcomes.outcomes`, by name


def tables(
    lm: LM,
    rows: pd.DataFrame,
    method: str | dict,
    settings: Any,
    aids: editor.Aids,
    n: FactGroup,
    dataset: str,
    config: outcomes.Config,
    key: tuple,
    written: int | None = None,
    held: drift.Heldout | None = None,
) -> Tables:
    """The tables of `outcomes.outcomes` for the records `rows`, edited in the groups that `n` says.

    `method` is what `editor.load` takes, `settings` its hyperparameters. The first column of the tables, `after`, is
    the number of facts that the model holds when it is read. The last group has the facts that are left. Texts are
    those of the first `written` records (None: all); the first models (`held.models`) read what is held out.
    """
    written = len(rows) if written is None else written

    def read(part: pd.DataFrame, deltas: list[Delta], start: int, after: list[int], last: bool = True) -> Tables:
        """The tables of the records `part`, which begin at `start`; texts only when they are read for the last time."""
        more = max(0, written - start) if last else 0
        own = held.after(start, n.facts) if held else None
        outcome = outcomes.outcomes(lm, part, deltas, dataset, config, key, more, own)
        counts = dict(zip(part["case_id"], after))
        for table in outcome.values():
            table.insert(0, "after", table["case_id"].map(counts).astype("int64"))
        return outcome

    def at_once() -> Iterator[Tables]:
        """Groups of `n.facts` facts, each edited by one call; about `config.records` records are read at a time."""
        step = n.facts * max(1, config.records // n.facts)
        for start in range(0, len(rows), step):
            part = rows.iloc[start : start + step]
            deltas = editor.deltas(method, lm, records.to_facts(part), settings, aids, n.facts)
            yield read(
                part, deltas, start, [min(n.facts, len(part) - i // n.facts * n.facts) for i in range(len(part))]
            )

    def in_batches(batch: int) -> Iterator[Tables]:
        """Groups of `n.facts` facts, edited `batch` by batch: at every checkpoint the tables of the facts so far."""
        for start in range(0, len(rows), n.facts):
            part = rows.iloc[start : start + n.facts]
            checkpoints = n.checkpoints(len(part))
            for after, total in totals(lm, editor.load(method), records.to_facts(part), settings, aids, batch):
                if after in checkpoints:
                    yield read(part[:after], [total] * after, start, [after] * after, after == len(part))

    parts = list(at_once() if n.batch is None else in_batches(n.batch))
    return {table: pd.concat([part[table] for part in parts], ignore_index=True) for table in parts[0]}


def totals(
    lm: LM, method: editor.Editor, facts: list[Fact], settings: Any, aids: editor.Aids, batch: int
) -> Iterator[tuple[int, Delta]]:
    """After every batch of `batch` facts, the number of facts edited so far and the sum of all changes.

    Each call of the method sees the model as it was left by those before it; what it remembers of them is
    `aids.earlier`. DIFFERS: optimised values are those of the unedited model (`aids.targets`), where published code
    finds them anew.
    """
    total, earlier = NOTHING, aids.earlier
    for start in range(0, len(facts), batch):
        part, own = facts[start : start + batch], replace(aids, earlier=earlier)
        with applied(lm, total):
            change = method.edit(lm, part, settings, own)
        total = total + change
        if isinstance(method, editor.Remembering):
            with applied(lm, total):
                earlier = method.remember(lm, part, settings, own)
        yield start + len(part), total
