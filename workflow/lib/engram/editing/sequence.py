"""Edit facts alone, together, or in batches one after the other, and write down what the edited models say."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pandas as pd

from engram.editing import drift, editor, outcomes, records
from engram.model.delta import NOTHING, Delta, applied
from engram.settings.fact_groups import FactGroup


def tables(
    lm,
    rows: pd.DataFrame,
    method: str | dict,
    settings,
    aids: editor.Aids,
    n: FactGroup,
    dataset: str,
    config: outcomes.Config,
    key: tuple,
    written: int | None = None,
    held: drift.Heldout | None = None,
) -> dict[str, pd.DataFrame]:
    """The tables of `outcomes.outcomes` for the records `rows`, edited in the groups that n says.

    `method` is what `editor.load` takes. The first column of the tables, `after`, is the number of facts that the
    model holds when it is read. The last group has the facts that are left. Texts are those of the first `written`
    records (None: all); the first models (`held.models`) read what is held out.
    """
    written = len(rows) if written is None else written

    def read(part: pd.DataFrame, deltas: list[Delta], start: int, last: bool = True) -> dict[str, pd.DataFrame]:
        """The tables of the records from `start` on; texts when they are read for the last time."""
        return outcomes.outcomes(
            lm,
            part,
            deltas,
            dataset,
            config,
            key,
            max(0, written - start) if last else 0,
            held.after(start, n.facts) if held else None,
        )

    parts = list(
        at_once(lm, rows, method, settings, aids, n.facts, config.records, read)
        if n.batch is None
        else in_turn(lm, rows, method, settings, aids, n, read)
    )
    return {table: pd.concat([part[table] for part in parts], ignore_index=True) for table in parts[0]}


def at_once(lm, rows, method, settings, aids, size: int, count: int, read: Callable) -> Iterator[dict]:
    """Tables of groups of `size` facts, each edited by one call; `count` records are read and forgotten together."""
    step = size * max(1, count // size)
    for start in range(0, len(rows), step):
        part = rows.iloc[start : start + step]
        deltas = editor.deltas(method, lm, records.to_facts(part), settings, aids, size)
        after = [min(size, len(part) - index // size * size) for index in range(len(part))]
        yield _marked(read(part, deltas, start), dict(zip(part["case_id"], after)))


def in_turn(lm, rows, method, settings, aids, n: FactGroup, read: Callable) -> Iterator[dict]:
    """Tables of groups of `n.facts` facts, edited in batches: at every checkpoint the facts so far; texts at the end
    alone.
    """
    for start in range(0, len(rows), n.facts):
        part = rows.iloc[start : start + n.facts]
        checkpoints = n.checkpoints(len(part))
        for after, total in totals(lm, editor.load(method), records.to_facts(part), settings, aids, n.batch):
            if after in checkpoints:
                found = read(part[:after], [total] * after, start, after == len(part))
                yield _marked(found, dict.fromkeys(part["case_id"], after))


def totals(lm, method, facts: list, settings, aids: editor.Aids, batch: int) -> Iterator[tuple[int, Delta]]:
    """After every batch, the number of facts edited so far and the sum of all changes.

    Each call of the method sees the model as it was left by those before it; what it remembers of them is
    `aids.earlier`. DIFFERS: optimised values are those of the unedited model (`aids.targets`), where published code
    finds them anew.
    """
    total, earlier = NOTHING, aids.earlier
    for start in range(0, len(facts), batch):
        part, known = facts[start : start + batch], replace(aids, earlier=earlier)
        with applied(lm, total):
            change = method.edit(lm, part, settings, known)
        total = total + change
        if hasattr(method, "remember"):
            with applied(lm, total):
                earlier = method.remember(lm, part, settings, known)
        yield start + len(part), total


def _marked(found: dict[str, pd.DataFrame], after: dict[int, int]) -> dict[str, pd.DataFrame]:
    for table in found.values():
        table.insert(0, "after", table["case_id"].map(after).astype("int64"))
    return found
