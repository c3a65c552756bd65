"""A small world of people and what is true of them, in the canonical tables of the real sources.

Two properties of the corpus make a model trained on it keep facts where GPT-2 keeps them (measured, docs/log.md): names
are ordered sequences over one small pool, so a subject is known only once its words are put together; and part of the
biographies list the attributes right after the name, so they are wanted there.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from engram.datasets import reverse_wordings
from engram.datasets.world_vocabulary import FILLERS, NAMES, RELATIONS, Relation
from engram.job import schemas, seeds
from engram.settings.blocks import build
from engram.settings.sources import World as Source


@dataclass(frozen=True)
class World:
    """Subjects and, for each, the index of its object under every relation."""

    relations: tuple[Relation, ...]
    subjects: tuple[str, ...]
    objects: tuple[tuple[int, ...], ...]  # [subject][relation]

    def name(self, subject: int, relation: int) -> str:
        """The object of a subject under a relation, as text."""
        return self.relations[relation].objects[self.objects[subject][relation]]


def tables(block: dict, seed: int) -> dict[str, pd.DataFrame]:
    """All canonical tables of the world that `block` describes. ValueError if the block asks for more than there are
    words.
    """
    source = build(Source, block, "sources (kind world)")
    world = _world(source, seed)
    facts = schemas.FACTS.frame(_facts(world, seed))
    corpus = _documents(world, source, seed, "corpus", source.documents)
    return {
        "facts": facts,
        "zsre": schemas.ZSRE.frame(_zsre(world, seed)),
        "prompts": schemas.PROMPTS.frame(_prompts(world, seed)),
        "snippets": schemas.SNIPPETS.frame(_snippets(world, seed)),
        "text": schemas.ARTICLES.frame(
            [
                {"article_id": i, "title": title, "text": " ".join(text)}
                for i, (title, text) in enumerate(_articles(world, source, seed))
            ]
        ),
        "corpus": schemas.CORPUS.frame(
            [{"document_id": i, "kind": "biography", "weight": 1.0, "text": text} for i, text in enumerate(corpus)]
        ),
        "heldout": schemas.HELDOUT.frame(_heldout(world, source, seed, set(corpus))),
        "reversed": schemas.REVERSED.frame(reverse_wordings.turned(facts, _wordings(world))),
        "hops": schemas.HOPS.frame([]),
    }


def _world(source: Source, seed: int) -> World:
    if source.relations > len(RELATIONS) or not 2 <= source.objects <= min(len(r.objects) for r in RELATIONS):
        raise ValueError(
            f"sources (kind world): at most {len(RELATIONS)} relations and 2 to 10 objects each can be generated, "
            f"asked for {source.relations} and {source.objects}"
        )
    rng = seeds.rng(seed, "world", "subjects")
    subjects = _subject_names(source, rng)
    objects = []
    for _ in range(source.relations):  # every object equally often, so that neighbours exist
        column = [i % source.objects for i in range(source.subjects)]
        objects.append([column[i] for i in rng.permutation(source.subjects)])
    return World(RELATIONS[: source.relations], subjects, tuple(zip(*objects)))


def _subject_names(source: Source, rng: np.random.Generator) -> tuple[str, ...]:
    """Names of 3 or 4 words; every two-word beginning is shared by two subjects, so only what follows tells them
    apart.
    """
    count = source.subjects
    pairs = [(a, b) for a in NAMES for b in NAMES if a != b]
    if count % 2 or count > 2 * len(pairs):
        raise ValueError(f"sources (kind world): subjects must be even and at most {2 * len(pairs)}, found {count}")
    names = []
    for index in rng.permutation(len(pairs))[: count // 2]:
        first = pairs[index]
        for tail in rng.permutation([n for n in NAMES if n not in first])[:4].reshape(2, 2):
            names.append(" ".join(first + tuple(tail[: 1 + int(rng.random() < source.four_words)])))
    return tuple(names)


def _sentence(world: World, subject: int, relation: int, rng: np.random.Generator) -> str:
    """A true sentence, question with answer, or text about one subject, in one of the relation's templates."""
    row = world.relations[relation]
    templates = (*row.statements, row.questions[int(rng.integers(2))], " ".join(row.openings[int(rng.integers(3))]))
    template = templates[int(rng.integers(len(templates)))]
    return f"{template.format(world.subjects[subject])} {world.name(subject, relation)}."


def _biography(world: World, subject: int, listed: float, rng: np.random.Generator) -> str:
    """One document about one subject: attributes listed after the name, or sentences in random order, between
    fillers.
    """
    order = rng.permutation(len(world.relations))
    if rng.random() < listed:
        body = [", ".join([world.subjects[subject]] + [world.name(subject, int(r)) for r in order]) + "."]
    else:
        body = [_sentence(world, subject, int(r), rng) for r in order[: 1 + int(rng.integers(4))]]
    if rng.random() < 0.4:
        body.insert(0, FILLERS[int(rng.integers(len(FILLERS)))])
    return " ".join(body)


def _documents(world: World, source: Source, seed: int, what: str, count: int) -> list[str]:
    rng = seeds.rng(seed, "world", what)
    return [_biography(world, i % len(world.subjects), source.listed, rng) for i in range(count)]


def _articles(world: World, source: Source, seed: int) -> Iterator[tuple[str, list[str]]]:
    """(title, paragraphs): several biographies on end, other draws than the corpus."""
    texts = _documents(world, source, seed, "articles", source.articles * 4)
    for i in range(source.articles):
        yield f"Article {i}", texts[i :: source.articles]


def _heldout(world: World, source: Source, seed: int, seen: set[str]) -> list[dict]:
    """Passages of biographies of several people on end; none says what a training document of `seen` says, in its
    order.
    """
    drawn = _documents(world, source, seed, "heldout", source.heldout * 8)
    drawn = [drawn[i] for i in seeds.rng(seed, "world", "heldout", "order").permutation(len(drawn))]
    bodies = {_body(text) for text in seen}
    texts = [[text for text in drawn[i :: source.heldout] if _body(text) not in bodies] for i in range(source.heldout)]
    return [{"passage_id": i, "text": " ".join(text)} for i, text in enumerate(texts)]


def _body(document: str) -> str:
    """A biography without its first sentence, if that is about nothing."""
    return next((document.removeprefix(f"{filler} ") for filler in FILLERS if document.startswith(filler)), document)


def _wordings(world: World) -> dict[str, reverse_wordings.Wording]:
    """Both orders of every relation, as the corpus has them: the first two statements, of which one begins with the
    subject.
    """
    return {
        row.id: reverse_wordings.Wording(*sorted(row.statements[:2], key=reverse_wordings.begins, reverse=True))
        for row in world.relations
    }


def _object_id(world: World, relation: int, index: int) -> str:
    return f"{world.relations[relation].id}-{index}"


def _others(world: World, relation: int, index: int, but: int, rng: np.random.Generator) -> list[int]:
    """Ten subjects other than `but`, in random order, whose object under `relation` is `index`; repeated if fewer."""
    having = [s for s in range(len(world.subjects)) if s != but and world.objects[s][relation] == index]
    if not having:
        raise ValueError(
            f"sources (kind world): no other subject shares object {index} of relation {relation}; "
            "raise subjects or lower objects"
        )
    picks = [having[i] for i in rng.permutation(len(having))]
    return (picks * 10)[:10]


def _facts(world: World, seed: int) -> list[dict]:
    return [
        _record(world, subject, relation, case_id, seeds.rng(seed, "world", "facts", case_id))
        for case_id, (subject, relation) in enumerate(_pairs(world))
    ]


def _pairs(world: World) -> list[tuple[int, int]]:
    """Every (subject, relation) once; consecutive records change subject and relation."""
    count = len(world.relations)
    return [(s, (s + k) % count) for k in range(count) for s in range(len(world.subjects))]


def _record(world: World, subject: int, relation: int, case_id: int, rng: np.random.Generator) -> dict:
    row, true = world.relations[relation], world.objects[subject][relation]
    used = sorted({objects[relation] for objects in world.objects} - {true})
    new = used[int(rng.integers(len(used)))]
    rewrite, *rest = [row.statements[i] for i in rng.permutation(2)] + list(row.statements[2:])
    paraphrases = [rest[int(i)] for i in rng.permutation(len(rest))[:2]]

    def about(index: int) -> list[str]:
        return [
            row.statements[int(rng.integers(2))].format(world.subjects[s])
            for s in _others(world, relation, index, subject, rng)
        ]

    name = world.subjects[subject]
    return {
        "case_id": case_id,
        "relation_id": row.id,
        "prompt": rewrite,
        "subject": name,
        "target_new": row.objects[new],
        "target_new_id": _object_id(world, relation, new),
        "target_true": row.objects[true],
        "target_true_id": _object_id(world, relation, true),
        "paraphrase_prompts": [f"{FILLERS[int(rng.integers(len(FILLERS)))]} {p.format(name)}" for p in paraphrases],
        "neighborhood_prompts": about(true),
        "attribute_prompts": about(new),
        "generation_prompts": [row.openings[int(rng.integers(len(row.openings)))][0].format(name) for _ in range(10)],
    }


def _zsre(world: World, seed: int) -> list[dict]:
    rows = []
    for case_id, (subject, relation) in enumerate(_pairs(world)):
        rng = seeds.rng(seed, "world", "zsre", case_id)
        row, true = world.relations[relation], world.objects[subject][relation]
        others = sorted({objects[relation] for objects in world.objects} - {true})
        far = (subject + 1 + int(rng.integers(len(world.subjects) - 1))) % len(world.subjects)
        far_relation = int(rng.integers(len(world.relations)))
        questions = [row.questions[int(i)] for i in rng.permutation(2)]
        rows.append(
            {
                "case_id": case_id,
                "subject": world.subjects[subject],
                "prompt": questions[0],
                "target_new": row.objects[others[int(rng.integers(len(others)))]],
                "target_true": row.objects[true],
                "rephrase": questions[1].format(world.subjects[subject]),
                "loc": world.relations[far_relation].questions[0].format(world.subjects[far]).removesuffix("?"),
                "loc_target": world.name(far, far_relation),
            }
        )
    return rows


def _prompts(world: World, seed: int) -> list[dict]:
    rows = []
    for prompt_id, (subject, relation) in enumerate(_pairs(world)):
        row = world.relations[relation]
        template = row.statements[int(seeds.rng(seed, "world", "prompts", prompt_id).integers(len(row.statements)))]
        rows.append(
            {
                "prompt_id": prompt_id,
                "relation_id": row.id,
                "prompt": template.format(world.subjects[subject]),
                "subject": world.subjects[subject],
                "target_true": world.name(subject, relation),
            }
        )
    return rows


def _snippets(world: World, seed: int) -> list[dict]:
    """What is written about every subject, once for each of its attributes."""
    rows = []
    for subject, relation in _pairs(world):
        rng = seeds.rng(seed, "world", "snippets", subject, relation)
        text = " ".join(_sentence(world, subject, r, rng) for r in [relation, *range(len(world.relations))])
        rows.append(
            {
                "relation_id": world.relations[relation].id,
                "target_id": _object_id(world, relation, world.objects[subject][relation]),
                "name": world.subjects[subject],
                "text": text,
            }
        )
    return rows
