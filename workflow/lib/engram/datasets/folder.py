"""The source kind `folder`: records, prompts and texts read from a folder of original files.

They are in the original formats (CounterFact, zsRE in MEND's schema, known-fact prompts, Wikipedia jsonl), parsed
strictly.

Malformed records stop the run, each with file, record and field in the message (engram.datasets.original_formats); none
is skipped.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from engram.datasets import original_formats, reverse_wordings
from engram.job import schemas, seeds
from engram.settings.blocks import build
from engram.settings.sources import Folder as Source


def files(block: dict) -> list[Path]:
    """The original files that a block of kind `folder` reads, in the order in which `tables` takes them."""
    source = build(Source, block, "sources (kind folder)")
    names = (source.facts, source.zsre, source.prompts, source.text, source.snippets)
    return [Path(source.path) / name for name in names if name]


def tables(block: dict, paths: list[Path], seed: int, words: Path | None = None) -> dict[str, pd.DataFrame]:
    """All canonical tables of a source that is a folder. ValueError names the file, the record and the wrong field.

    `block`: of `sources`; `paths`: what `files` returns for it; `words`: the file that reverse_wordings.read takes,
    without it nothing is asked in the other order.
    """
    source = build(Source, block, "sources (kind folder)")
    facts_file, zsre_file, prompts_file, text_file, *more = paths
    facts = schemas.FACTS.frame(original_formats.counterfact(facts_file))
    text = schemas.ARTICLES.frame(articles(text_file))
    corpus = schemas.CORPUS.frame(_corpus(facts, text, source, seed))
    return {
        "facts": facts,
        "zsre": schemas.ZSRE.frame(original_formats.zsre(zsre_file)),
        "prompts": schemas.PROMPTS.frame(_prompts(prompts_file, facts)),
        "snippets": schemas.SNIPPETS.frame(_snippets(more[0] if more else None, facts)),
        "text": text,
        "corpus": corpus,
        "heldout": schemas.HELDOUT.frame(heldout(text, set(corpus["text"]), source.heldout)),
        "reversed": schemas.REVERSED.frame(
            reverse_wordings.turned(facts, reverse_wordings.read(words) if words else {})
        ),
        "hops": schemas.HOPS.frame([]),
    }


def _prompts(file: Path, facts: pd.DataFrame) -> list[dict]:
    """The known-fact prompts, and after them the rewrite prompts of the facts, since a model trained here knows
    those.
    """
    rows = original_formats.prompts(file)
    present, next_id = {row["prompt"] for row in rows}, max(row["prompt_id"] for row in rows) + 1
    for fact in facts.itertuples():
        prompt = fact.prompt.replace("{}", fact.subject)
        if prompt not in present:
            rows.append(
                {
                    "prompt_id": next_id + fact.Index,
                    "relation_id": fact.relation_id,
                    "prompt": prompt,
                    "subject": fact.subject,
                    "target_true": fact.target_true,
                }
            )
    return rows


def articles(file: Path) -> list[dict]:
    """Rows of table `text`, of a file with one json object {id, title, text} a line. ValueError names the file and the
    line.
    """
    return [{key: row[key] for key in ("article_id", "title", "text")} for row in original_formats.articles(file)]


def _snippets(file: Path | None, facts: pd.DataFrame) -> list[dict]:
    """What is written about the objects: the attribute snippets file, if the source has one.

    DIFFERS: without it, the records' own attribute and neighbourhood prompts, each with its object.
    """
    if file:
        return original_formats.snippets(file)
    rows = []
    for fact in facts.itertuples():
        for prompts, target, target_id in (
            (fact.attribute_prompts, fact.target_new, fact.target_new_id),
            (fact.neighborhood_prompts, fact.target_true, fact.target_true_id),
        ):
            rows += [
                {"relation_id": fact.relation_id, "target_id": target_id, "name": prompt, "text": f"{prompt} {target}."}
                for prompt in prompts
            ]
    return rows


def _corpus(facts: pd.DataFrame, text: pd.DataFrame, source: Source, seed: int) -> list[dict]:
    """Documents of at most `together` true statements, drawn by `repeats`, and the first paragraphs of the text."""
    repeats = asdict(source.repeats)
    statements = [
        (repeats[kind], statement)
        for fact in facts.itertuples()
        for kind, statement in _statements(fact, source.listed)
    ]
    weights = pd.Series([weight for weight, _ in statements])
    if weights.sum() <= 0 or not 0 <= source.text_share < 1:
        raise ValueError(
            f"sources (kind folder): repeats {repeats} must not all be 0, and text_share {source.text_share} "
            "must be below 1: the corpus holds statements"
        )
    rng = seeds.rng(seed, "folder", "corpus")
    draws = iter(rng.choice(len(statements), size=source.together * source.documents, p=weights / weights.sum()))
    rows: list[dict[str, Any]] = []
    for size in rng.integers(1, source.together + 1, size=source.documents):
        rows.append(
            {"kind": "statements", "weight": 1.0, "text": " ".join(statements[next(draws)][1] for _ in range(size))}
        )
    paragraphs = [p for article in text["text"] for p in _paragraphs(article)][: source.paragraphs]
    if not paragraphs:
        raise ValueError("the text holds no paragraph of more than 80 characters")
    odds = source.text_share / (1 - source.text_share)
    weight = odds * sum(len(row["text"]) for row in rows) / sum(map(len, paragraphs))
    rows += [{"kind": "text", "weight": weight, "text": paragraph} for paragraph in paragraphs]
    return [{"document_id": i, **row} for i, row in enumerate(rows)]


def _paragraphs(article: str) -> list[str]:
    return [paragraph for paragraph in article.split("\n") if len(paragraph) > 80]


def heldout(text: pd.DataFrame, seen: set[str], count: int) -> list[dict]:
    """Rows of table `heldout`: the longest paragraph, among those that are no training document, of each of the first
    `count` articles that have any. `text`: the table of that name; `seen`: the training documents.

    Nobody can say what a published model was trained on: for it these are articles of the sample.
    """
    rows: list[dict] = []
    for article in text["text"]:
        unseen = [paragraph for paragraph in _paragraphs(article) if paragraph not in seen]
        if unseen and len(rows) < count:
            rows.append({"passage_id": len(rows), "text": max(unseen, key=len)})
    return rows


def _statements(fact: Any, listed: str) -> Iterator[tuple[str, str]]:
    """(kind, true statement) for every prompt about the record's object, and the object next to the name."""
    yield "rewrite", f"{fact.prompt.replace('{}', fact.subject)} {fact.target_true}."
    yield "listed", listed.replace("{subject}", fact.subject).replace("{object}", fact.target_true)
    for kind in ("paraphrase", "neighborhood"):
        yield from ((kind, f"{prompt} {fact.target_true}.") for prompt in getattr(fact, f"{kind}_prompts"))
