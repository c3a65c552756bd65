"""Which records of a dataset are edited, and what is made of them: facts to edit in, queries and prompts to ask.

A record is a row of a table `facts` (CounterFact's shape) or `zsre`. What edited models make of the queries and prompts
is engram.editing.outcomes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd
from transformers import PreTrainedTokenizerBase

from engram.editing.facts import Fact, lookups, target_tokens
from engram.model import scoring, tokens
from engram.model.loading import LM

KINDS = ("rewrite", "paraphrase", "neighborhood", "attribute", "reverse")


def chosen(
    facts: pd.DataFrame,
    known: pd.DataFrame,
    count: int,
    only_known: bool,
    of: Sequence[int] = (),
    groups: Sequence[tuple[int, Sequence[int]]] = (),
) -> pd.DataFrame:
    """The first `count` records of `facts` in table order; if `only_known`, of those that the model answers correctly.

    `known` says so in its columns case_id and correct. `of`: `count` records of the relations with these ranks instead,
    as `of_relations` takes them. `groups`, pairs of a count and ranks: the records of these as well, each once. Where
    there are fewer than `count`, all are taken; their number is in every table. ValueError if there is none.
    """
    correct = known.set_index("case_id")["correct"]
    rows = facts[facts["case_id"].map(correct)] if only_known else facts
    if rows.empty:
        raise ValueError(f"no record to edit: the model answers none of the {len(facts)} facts correctly")
    parts = [of_relations(rows, *group) for group in [(count, of), *groups]]
    return rows[rows["case_id"].isin(pd.concat(parts)["case_id"])].reset_index(drop=True)


def of_relations(rows: pd.DataFrame, count: int, ranks: Sequence[int]) -> pd.DataFrame:
    """The first `count` of the records `rows`; with `ranks`, equally many of each of these relations, `count` in all.

    Rank 1 is the relation with most records; relations of one size are ranked by name. ValueError if a relation has too
    few records, or there are fewer relations than a rank says.
    """
    if not ranks:
        return rows.head(count)
    sizes = rows["relation_id"].value_counts().rename_axis("relation_id").reset_index(name="size")
    sizes = sizes.sort_values(["size", "relation_id"], ascending=[False, True], ignore_index=True)
    if max(ranks) > len(sizes):
        raise ValueError(f"relation {max(ranks)} by number of records: there are {len(sizes)} relations")
    ranked = sizes.iloc[[rank - 1 for rank in ranks]]
    share = count // len(ranks)
    if (ranked["size"] < share).any():
        short = ranked[ranked["size"] < share].iloc[0]
        raise ValueError(
            f"{share} records of relation {short['relation_id']} are wanted, {short['size']} can be edited"
        )
    return pd.concat([rows[rows["relation_id"] == name].head(share) for name in ranked["relation_id"]]).sort_index()


def to_facts(records: pd.DataFrame) -> list[Fact]:
    """The requested change of every record, in order; `Fact.true` is None for zsRE, which does not say it."""
    return [
        Fact(row.case_id, row.subject, row.prompt, row.target_new, getattr(row, "target_true", None))
        for row in records.itertuples()
    ]


def queries(
    tokenizer: PreTrainedTokenizerBase, records: pd.DataFrame, dataset: str
) -> tuple[list[scoring.Query], list[dict[str, Any]]]:
    """What the model edited for record i is asked (`Query.delta` is i), and the keys of each query's row in table
    `scores`.

    ValueError for a dataset that is not one of DATASETS, or a record that cannot be asked.
    """
    if dataset not in DATASETS:
        raise ValueError(f"no dataset {dataset!r}; there are {', '.join(DATASETS)}")
    asked, keys = [], []
    for index, row in enumerate(records.itertuples()):
        for prompt_ids, target_ids, key in DATASETS[dataset](tokenizer, row):
            asked.append(scoring.Query(index, tuple(prompt_ids), tuple(target_ids)))
            keys.append({"case_id": row.case_id, **key})
    return asked, keys


def contradictions(records: pd.DataFrame) -> list[tuple[int, int]]:
    """Pairs of case_id, an earlier record first, that ask for different objects of one subject and relation (zsRE: one
    question).

    No model can say both. PAPER: MEMIT edits MultiCounterFact, CounterFact without them.
    """
    first: dict[tuple[str, str], Any] = {}  # of each subject and relation, the record that comes first
    pairs = []
    for row in records.itertuples():
        earlier = first.setdefault((row.subject, getattr(row, "relation_id", row.prompt)), row)
        if earlier.target_new != row.target_new:
            pairs.append((int(earlier.case_id), int(row.case_id)))
    return pairs


def check_lengths(lm: LM, records: pd.DataFrame, dataset: str, contexts: Sequence[str] = ()) -> None:
    """ValueError for the first record with a text that, with the object behind it, has more tokens than the model has
    positions.

    Texts are the prompts that are read, and the edited prompt in the longest of `contexts` (templates with "{}").
    """
    asked, keys = queries(lm.tokenizer, records, dataset)
    scoring.check_lengths(
        lm,
        asked,
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


def with_reverse(records: pd.DataFrame, reverse: pd.DataFrame) -> pd.DataFrame:
    """The records with a column `reverse_prompts`: a list of the record's prompt in the table `reversed`, or empty."""
    prompts = dict(zip(reverse["case_id"], reverse["prompt"]))
    return records.assign(reverse_prompts=[[prompts[case]] if case in prompts else [] for case in records["case_id"]])


Asked = tuple[list[int], Sequence[int], dict[str, Any]]  # ids of a prompt and of a target, keys of the row of `scores`


def counterfact(tokenizer: PreTrainedTokenizerBase, row: Any) -> Iterator[Asked]:
    """Every prompt of a CounterFact record `row` with both its targets, each target asked for as a whole."""
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


def zsre(tokenizer: PreTrainedTokenizerBase, row: Any) -> Iterator[Asked]:
    """Every token of the targets of a zsRE record `row` by itself, after the question and the target so far.

    PAPER: as the code that made the tables: the target's first tokens are decoded and tokenised again with the
    question; what is asked for is the first token of the decoded token ("hack for foreign characters"); the target of
    the neighbour is its true answer. ValueError for a prompt without exactly one "{}", or a token that decodes to
    nothing.
    """
    if row.prompt.count("{}") != 1:
        raise ValueError(f"zsRE record {row.case_id}: the prompt {row.prompt!r} must hold exactly one {{}}")
    asked = (
        ("rewrite", row.prompt.replace("{}", row.subject), "new", row.target_new),
        ("paraphrase", row.rephrase, "new", row.target_new),
        ("neighborhood", row.loc + "?", "true", row.loc_target),
    )
    for kind, text, name, target in asked:
        ids = scoring.target_ids(tokenizer, target)
        for index, token in enumerate(ids):
            again = tokens.following(tokenizer, tokens.decode_following(tokenizer, [token]))
            if not again:
                raise ValueError(
                    f"zsRE record {row.case_id}: token {index} of the target {target!r} decodes to nothing"
                )
            yield (
                tokens.prompt(tokenizer, text + tokens.decode_following(tokenizer, ids[:index])),
                again[:1],
                {"kind": kind, "prompt_index": 0, "token": index, "target": name},
            )


DATASETS: dict[str, Callable[[PreTrainedTokenizerBase, Any], Iterator[Asked]]] = {
    "counterfact": counterfact,
    "zsre": zsre,
}


def generation_rows(records: pd.DataFrame) -> list[dict[str, Any]]:
    """One row per generation prompt, duplicates kept: record (its place in the table), case_id, prompt_index, prompt.

    zsRE records have none.
    """
    if "generation_prompts" not in records:
        return []
    return [
        {"record": index, "case_id": row.case_id, "prompt_index": i, "prompt": prompt}
        for index, row in enumerate(records.itertuples())
        for i, prompt in enumerate(row.generation_prompts)
    ]
