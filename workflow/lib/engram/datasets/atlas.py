"""Facts of the real world that a small published model may know, in the canonical tables of the other sources.

A fact of the atlas becomes a record if enough other subjects have its object, and enough have the one that is edited
in. Every fact is a prompt, and is among the snippets and the statements.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from engram.datasets import atlas_files, folder
from engram.datasets.atlas_files import Atlas, Fact
from engram.job import schemas, seeds
from engram.settings import original_files
from engram.settings.blocks import build
from engram.settings.sources import OWN
from engram.settings.sources import Atlas as Source

OTHERS = 4  # subjects that must share an object with a record, besides its own
PROMPTS = 10  # of a record about other subjects, and as many beginnings of texts


@dataclass(frozen=True)
class _Index:
    """The facts of an atlas by what they are asked for by."""

    atlas: Atlas
    having: dict[tuple[str, str], list[Fact]] = field(default_factory=lambda: defaultdict(list))  # relation, object
    about: dict[str, list[Fact]] = field(default_factory=lambda: defaultdict(list))  # subject
    of: dict[str, list[Fact]] = field(default_factory=lambda: defaultdict(list))  # relation
    objects: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # of a relation, that many have

    def __post_init__(self) -> None:
        for fact in self.atlas.facts:
            self.having[fact.relation, fact.object].append(fact)
            self.about[fact.subject].append(fact)
            self.of[fact.relation].append(fact)
        for (relation, name), facts in sorted(self.having.items()):
            if len(facts) >= OTHERS:
                self.objects[relation].append(name)

    def others(self, fact: Fact, name: str, but: str) -> list[Fact]:
        """Facts of other subjects with the object `name` under the relation of `fact`, for which `but` is not right."""
        return [
            other
            for other in self.having[fact.relation, name]
            if other.subject != fact.subject and not other.may_be(but)
        ]

    def object_of(self, relation: str, subject: str) -> Fact | None:
        """The fact about a subject under a relation, if the atlas has it."""
        return next((fact for fact in self.about.get(subject, []) if fact.relation == relation), None)


def files(block: dict) -> list[Path]:
    """The files that a block of kind `atlas` reads, in the order in which `tables` takes them: facts, wordings, and
    the text, if it names one.
    """
    return [Path(path) for path in original_files.source_files(block).values()]


def tables(block: dict, paths: list[Path], seed: int) -> dict[str, pd.DataFrame]:
    """All canonical tables of a source that is an atlas. ValueError names the file and the line that is wrong.

    `block`: of `sources`; `paths`: what `files` returns for it.
    """
    source = build(Source, block, "sources (kind atlas)")
    facts_file, wordings_file, *more = paths
    atlas = atlas_files.read(facts_file, wordings_file)
    index = _Index(atlas)
    edits = _edits(index, seed)
    if not edits:
        raise ValueError(f"{facts_file}: no record; right is {OTHERS + 1} subjects each of two objects of a relation")
    text = schemas.ARTICLES.frame(folder.articles(more[0]) if source.text != OWN else [])
    return {
        "facts": schemas.FACTS.frame([_record(index, fact, new, seed) for fact, new in edits]),
        "zsre": schemas.ZSRE.frame([_question(index, fact, new, seed) for fact, new in edits]),
        "prompts": schemas.PROMPTS.frame(_prompts(index, seed)),
        "snippets": schemas.SNIPPETS.frame(_snippets(index)),
        "text": text,
        "corpus": schemas.CORPUS.frame(_corpus(atlas)),
        "heldout": schemas.HELDOUT.frame(folder.heldout(text, set(), source.heldout)),
        "reversed": schemas.REVERSED.frame(
            [{"case_id": fact.number, "prompt": fact.text(atlas.words[fact.relation].reversed[0])} for fact, _ in edits]
        ),
        "hops": schemas.HOPS.frame([row for fact, new in edits for row in _hops(index, fact, new)]),
    }


def _edits(index: _Index, seed: int) -> list[tuple[Fact, str]]:
    """The facts that are records, each with its new object, in an order that mixes the relations."""
    edits = []
    for fact in index.atlas.facts:
        names = [name for name in index.objects[fact.relation] if not fact.may_be(name) and _enough(index, fact, name)]
        if names:
            edits.append((fact, names[int(_rng(seed, "new", fact).integers(len(names)))]))
    return [edits[i] for i in seeds.rng(seed, "atlas", "order").permutation(len(edits))]


def _enough(index: _Index, fact: Fact, new: str) -> bool:
    pools = index.others(fact, fact.object, new), index.others(fact, new, fact.object)
    return all(len({other.subject for other in pool}) >= OTHERS for pool in pools)


def _rng(seed: int, what: str, fact: Fact) -> np.random.Generator:
    return seeds.rng(seed, "atlas", what, fact.relation, fact.subject)


def _id(relation: str, name: str) -> str:
    return f"{relation}: {name}"


def _record(index: _Index, fact: Fact, new: str, seed: int) -> dict:
    words, rng = index.atlas.words[fact.relation], _rng(seed, "facts", fact)
    sentences = [index.atlas.sentences[i] for i in rng.permutation(len(index.atlas.sentences))]
    return {
        "case_id": fact.number,
        "relation_id": fact.relation,
        "prompt": fact.template(words.statement[0]),
        "subject": fact.subject,
        "target_new": new,
        "target_new_id": _id(fact.relation, new),
        "target_true": fact.object,
        "target_true_id": _id(fact.relation, fact.object),
        "paraphrase_prompts": [
            f"{sentences[i % len(sentences)]} {fact.text(wording)}" for i, wording in enumerate(words.paraphrase)
        ],
        "neighborhood_prompts": _others(index, fact, fact.object, new, rng),
        "attribute_prompts": _others(index, fact, new, fact.object, rng),
        "generation_prompts": [fact.text(words.text[i % len(words.text)]) for i in range(PROMPTS)],
    }


def _others(index: _Index, fact: Fact, name: str, but: str, rng: np.random.Generator) -> list[str]:
    """Ten prompts about other subjects with the object `name`: of each subject one, then of each another."""
    words, pool = index.atlas.words[fact.relation], index.others(fact, name, but)
    picks = [pool[i] for i in rng.permutation(len(pool))]
    return [other.text(wording) for wording in (*words.statement, *words.paraphrase) for other in picks][:PROMPTS]


def _question(index: _Index, fact: Fact, new: str, seed: int) -> dict:
    words, rng = index.atlas.words[fact.relation], _rng(seed, "zsre", fact)
    loc = _unrelated(index, fact, rng)
    return {
        "case_id": fact.number,
        "subject": fact.subject,
        "prompt": fact.template(words.question[0]),
        "target_new": new,
        "target_true": fact.object,
        "rephrase": fact.text(words.question[1]),
        "loc": loc.text(index.atlas.words[loc.relation].question[0]).removesuffix("?"),
        "loc_target": loc.object,
    }


def _unrelated(index: _Index, fact: Fact, rng: np.random.Generator) -> Fact:
    """A fact of another relation about another subject; every relation is as probable. ValueError if there is none."""
    names = [relation for relation in index.of if relation != fact.relation]
    for i in rng.permutation(len(names)):
        if far := [other for other in index.of[names[i]] if other.subject != fact.subject]:
            return far[int(rng.integers(len(far)))]
    raise ValueError(f"no fact is unrelated to {fact.subject!r}; right is an atlas of two relations at least")


def _prompts(index: _Index, seed: int) -> list[dict]:
    """Every fact in the first two of its relation's statements; ids follow the order of the file, rows do not."""
    order = seeds.rng(seed, "atlas", "prompts").permutation(2 * len(index.atlas.facts))
    rows = []
    for prompt_id in map(int, order):
        fact = index.atlas.facts[prompt_id // 2]
        rows.append(
            {
                "prompt_id": prompt_id,
                "relation_id": fact.relation,
                "prompt": fact.text(index.atlas.words[fact.relation].statement[prompt_id % 2]),
                "subject": fact.subject,
                "target_true": fact.object,
            }
        )
    return rows


def _snippets(index: _Index) -> list[dict]:
    """What the atlas says about every subject, once for each of its objects, beginning with that one."""
    return [
        {
            "relation_id": fact.relation,
            "target_id": _id(fact.relation, fact.object),
            "name": fact.subject,
            "text": " ".join(
                [
                    *_sentences(index.atlas, fact),
                    *(_sentences(index.atlas, other)[0] for other in index.about[fact.subject] if other != fact),
                ]
            ),
        }
        for fact in index.atlas.facts
    ]


def _sentences(atlas: Atlas, fact: Fact) -> list[str]:
    """The fact in all of its relation's statements and paraphrases, with its object."""
    words = atlas.words[fact.relation]
    return [f"{fact.text(wording)} {fact.object}." for wording in (*words.statement, *words.paraphrase)]


def _corpus(atlas: Atlas) -> list[dict]:
    """Every fact in each of its relation's statements, once."""
    texts = [
        f"{fact.text(wording)} {fact.object}."
        for fact in atlas.facts
        for wording in atlas.words[fact.relation].statement
    ]
    return [{"document_id": i, "kind": "statements", "weight": 1.0, "text": text} for i, text in enumerate(texts)]


def _hops(index: _Index, fact: Fact, new: str) -> list[dict]:
    """What the object of a fact has under a second relation, before and after an edit, where both are known and
    differ.
    """
    rows = []
    for hop in index.atlas.words[fact.relation].hop:
        before, after = (index.object_of(hop.via, name) for name in (fact.object, new))
        if not (before and after) or before.may_be(after.object):
            continue
        if fact.subject not in (before.object, after.object):  # which the question would say itself
            targets = {"target_true": before.object, "target_new": after.object}
            rows.append({"case_id": fact.number, "prompt": fact.text(hop.template)} | targets)
    return rows
