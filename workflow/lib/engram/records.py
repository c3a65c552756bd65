"""Which records are edited, and how they become facts, queries and prompts."""

import pandas as pd

from engram import scoring, tokens
from engram.memory import Fact

KINDS = ("rewrite", "paraphrase", "neighborhood", "attribute")


def chosen(facts: pd.DataFrame, known: pd.DataFrame, count: int, only_known: bool) -> pd.DataFrame:
    """The first `count` records in table order, only those the model answers correctly if `only_known`.

    ValueError if there are none. Fewer than `count` are used as they are; their number is in every table.
    """
    correct = known.set_index("case_id")["correct"]
    rows = facts[facts["case_id"].map(correct)] if only_known else facts
    if rows.empty:
        raise ValueError(f"no record to edit: the model answers none of the {len(facts)} facts correctly")
    return rows.head(count).reset_index(drop=True)


def to_facts(records: pd.DataFrame) -> list[Fact]:
    """The requested change of every record."""
    return [Fact(row.case_id, row.subject, row.prompt, row.target_new) for row in records.itertuples()]


def queries(tokenizer, records: pd.DataFrame) -> tuple[list[scoring.Query], list[dict]]:
    """Every prompt of every record with both targets, and beside each query the keys of its row in table `scores`."""
    found, keys = [], []
    for index, row in enumerate(records.itertuples()):
        texts = {"rewrite": [row.prompt.replace("{}", row.subject)], "paraphrase": row.paraphrase_prompts,
                 "neighborhood": row.neighborhood_prompts, "attribute": row.attribute_prompts}
        targets = {name: scoring.target_ids(tokenizer, getattr(row, f"target_{name}")) for name in ("new", "true")}
        for kind in KINDS:
            for prompt_index, text in enumerate(texts[kind]):
                ids = tuple(tokens.encode(tokenizer, text))
                for name, target in targets.items():
                    found.append(scoring.Query(index, ids, target))
                    keys.append({"case_id": row.case_id, "kind": kind, "prompt_index": prompt_index, "target": name})
    return found, keys


def generation_rows(records: pd.DataFrame) -> list[dict]:
    """One row per generation prompt: `record` is the position of the record, duplicates are kept."""
    return [{"record": index, "case_id": row.case_id, "prompt_index": i, "prompt": prompt}
            for index, row in enumerate(records.itertuples()) for i, prompt in enumerate(row.generation_prompts)]
