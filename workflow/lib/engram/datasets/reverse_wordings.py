"""The reverse question: a relation in the other order than in the prompt that is edited.

An edit of "{} was born in" is asked as "The birthplace of {} is", one of "The capital of {} is" as "{}'s capital is".
"""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

COLUMNS = ["relation_id", "relation", "subject_first", "relation_first"]


class Wording(NamedTuple):
    """One relation in both orders; `{}` is the subject, the object follows the text."""

    subject_first: str
    relation_first: str


def read(path: Path) -> dict[str, Wording]:
    """relation_id -> `Wording`, of a file with COLUMNS. ValueError names the file, the line and what would be right."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(frame) != COLUMNS:
        raise ValueError(f"{path}: columns {list(frame)}; right is {COLUMNS}")
    wordings: dict[str, Wording] = {}
    for line, row in enumerate(frame.itertuples(index=False), 2):
        wording = Wording(row.subject_first, row.relation_first)
        if row.relation_id in wordings:
            raise ValueError(
                f"{path}, line {line}: relation {row.relation_id} a second time; right is one line for each"
            )
        if [text.count("{}") for text in wording] != [1, 1] or [begins(text) for text in wording] != [True, False]:
            raise ValueError(
                f"{path}, line {line}: {list(wording)}; right is each with one {{}}, the first beginning with it, "
                "the second not"
            )
        wordings[row.relation_id] = wording
    return wordings


def begins(template: str) -> bool:
    """Whether a template begins with its subject."""
    return template.startswith("{}")


def turned(facts: pd.DataFrame, wordings: dict[str, Wording]) -> list[dict]:
    """Table `reversed` of the table `facts`: a record each, but for those whose relation has no wording here."""
    rows = []
    for fact in facts.itertuples():
        if fact.relation_id in wordings:
            wording = wordings[fact.relation_id]
            template = wording.relation_first if begins(fact.prompt) else wording.subject_first
            rows.append({"case_id": fact.case_id, "prompt": template.replace("{}", fact.subject)})
    return rows
