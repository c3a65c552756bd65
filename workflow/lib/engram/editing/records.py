"""Which records are edited, and how they become facts, queries and prompts; one function per dataset for the
queries.
"""

import pandas as pd

from engram.editing.facts import Fact, lookups, target_tokens
from engram.model import scoring, tokens

KINDS = ("rewrite", "paraphrase", "neighborhood", "attribute", "reverse")


def chosen(facts: pd.DataFrame, known: pd.DataFrame, count: int, only_known: bool, of=(), groups=()) -> pd.DataFrame:
    """The first `count` records in table order, only those the model answers correctly if `only_known`.

    `of`: as many, but of these relations (`of_relations`). `groups`, pairs of count and relations: the records of these
    as well, each once. ValueError if there are none. Fewer than `count` are used as they are; their number is in every
    table.
    """
    correct = known.set_index("case_id")["correct"]
    rows = facts[facts["case_id"].map(correct)] if only_known else facts
    if rows.empty:
        raise ValueError(f"no record to edit: the model answers none of the {len(facts)} facts correctly")
    parts = [of_relations(rows, *group) for group in [(count, of), *groups]]
    return rows[rows["case_id"].isin(pd.concat(parts)["case_id"])].reset_index(drop=True)


def of_relations(rows: pd.DataFrame, count: int, ranks) -> pd.DataFrame:
    """The first `count` records; with `ranks`, equally many of each of these relations (1: the one with most records;
    then by name). ValueError if a relation has too few, or there are fewer relations.
    """
    if not ranks:
        return rows.head(count)
    sizes = rows["relation_id"].value_counts().rename_axis("relation_id").reset_index(name="size")
    sizes = sizes.sort_values(["size", "relation_id"], ascending=[False, True], ignore_index=True)
    if max(ranks) > len(sizes):
        raise ValueError(f"relation {max(ranks)} by number of records: there are {len(sizes)} relations")
    named = sizes.iloc[[rank - 1 for rank in ranks]]
    share = count // len(ranks)
    if (named["size"] < share).any():
        short = named[named["size"] < share].iloc[0]
        raise ValueError(
            f"{share} records of relation {short['relation_id']} are wanted, {short['size']} can be edited"
        )
    return pd.concat([rows[rows["relation_id"] == name].head(share) for name in named["relation_id"]]).sort_index()


def to_facts(records: pd.DataFrame) -> list[Fact]:
    """The requested change of every record; zsRE does not say what was true before."""
    return [
        Fact(row.case_id, row.subject, row.prompt, row.target_new, getattr(row, "target_true", None))
        for row in records.itertuples()
    ]


def queries(tokenizer, records: pd.DataFrame, dataset: str) -> tuple[list[scoring.Query], list[dict]]:
    """What the model edited for record i is asked (`Query.delta` is i), and the keys of each query's row in table
    `scores`.

    ValueError for a dataset that is not one of DATASETS, or a record that cannot be asked.
    """
    if dataset not in DATASETS:
        raise ValueError(f"no dataset {dataset!r}; there are {', '.join(DATASETS)}")
    found, keys = [], []
    for index, row in enumerate(records.itertuples()):
        for prompt_ids, target_ids, key in DATASETS[dataset](tokenizer, row):
            found.append(scoring.Query(index, tuple(prompt_ids), tuple(target_ids)))
            keys.append({"case_id": row.case_id, **key})
    return found, keys


def contradictions(records: pd.DataFrame) -> list[tuple[int, int]]:
    """Pairs of case_id, an earlier record first, that ask for different objects of one relation (zsRE: one question)
    and subject.

    No model can say both. PAPER: MEMIT edits MultiCounterFact, CounterFact without them.
    """
    asked, found = {}, []
    for row in records.itertuples():
        earlier = asked.setdefault((row.subject, getattr(row, "relation_id", row.prompt)), row)
        if earlier.target_new != row.target_new:
            found.append((int(earlier.case_id), int(row.case_id)))
    return found


def check_lengths(lm, records: pd.DataFrame, dataset: str, contexts=()) -> None:
    """ValueError naming the first record that has a text, with the object behind it, of more tokens than the model has
    positions: a prompt that is read, or the edited one in one of `contexts`, templates as of contexts.templates.
    """
    found, keys = queries(lm.tokenizer, records, dataset)
    scoring.check_lengths(
        lm,
        found,
        lambda i: (
            f"{dataset} record {keys[i]['case_id']}, {keys[i]['kind']} prompt {keys[i]['prompt_index']} with its object"
        ),
    )
    longest = sorted(contexts, key=lambda text: len(tokens.prompt(lm.tokenizer, text)))[-1:]
    scoring.check_token_counts(
        lm,
        (
            (
                f"{dataset} record {fact.case_id}, its prompt behind the context {context!r}, with its object",
                len(row.ids) + len(target_tokens(lm.tokenizer, fact)),
            )
            for fact in to_facts(records)
            for context in longest
            for row in lookups(lm.tokenizer, fact, [context])
        ),
    )


def with_reverse(records: pd.DataFrame, turned: pd.DataFrame) -> pd.DataFrame:
    """The records with a column `reverse_prompts`: that of the table `reversed`, or none."""
    prompts = dict(zip(turned["case_id"], turned["prompt"]))
    return records.assign(reverse_prompts=[[prompts[case]] if case in prompts else [] for case in records["case_id"]])


def counterfact(tokenizer, row):
    """Every prompt with both targets, each target as a whole."""
    texts = {
        "rewrite": [row.prompt.replace("{}", row.subject)],
        "paraphrase": row.paraphrase_prompts,
        "neighborhood": row.neighborhood_prompts,
        "attribute": row.attribute_prompts,
        "reverse": getattr(row, "reverse_prompts", []),
    }
    targets = {name: scoring.target_ids(tokenizer, getattr(row, f"target_{name}")) for name in ("new", "true")}
    for kind in KINDS:
        for prompt_index, text in enumerate(texts[kind]):
            ids = tokens.prompt(tokenizer, text)
            for name, target in targets.items():
                yield ids, target, {"kind": kind, "prompt_index": prompt_index, "target": name}


def zsre(tokenizer, row):
    """Every token of the answer by itself, after the text of question and answer so far.

    PAPER: as the code that made the tables: the answer's first tokens are decoded and tokenised again with the
    question; the goal is the first token of the decoded token ("hack for foreign characters"); the neighbour's goal is
    its true answer.
    """
    if row.prompt.count("{}") != 1:
        raise ValueError(f"zsRE record {row.case_id}: the prompt {row.prompt!r} must hold exactly one {{}}")
    asked = (
        ("rewrite", row.prompt.replace("{}", row.subject), "new", row.target_new),
        ("paraphrase", row.rephrase, "new", row.target_new),
        ("neighborhood", row.loc + "?", "true", row.loc_answer),
    )
    for kind, text, name, answer in asked:
        ids = scoring.target_ids(tokenizer, answer)
        for at, token in enumerate(ids):
            goal = tokens.following(tokenizer, tokens.decode_following(tokenizer, [token]))
            if not goal:
                raise ValueError(f"zsRE record {row.case_id}: token {at} of the answer {answer!r} decodes to nothing")
            yield (
                tokens.prompt(tokenizer, text + tokens.decode_following(tokenizer, ids[:at])),
                goal[:1],
                {"kind": kind, "prompt_index": 0, "token": at, "target": name},
            )


DATASETS = {"counterfact": counterfact, "zsre": zsre}


def generation_rows(records: pd.DataFrame) -> list[dict]:
    """One row per generation prompt: `record` is the position of the record, duplicates are kept; zsRE has none."""
    if "generation_prompts" not in records:
        return []
    return [
        {"record": index, "case_id": row.case_id, "prompt_index": i, "prompt": prompt}
        for index, row in enumerate(records.itertuples())
        for i, prompt in enumerate(row.generation_prompts)
    ]
