"""The two files of an atlas: facts, and the wordings of their relations, read strictly.

All that is wrong in a file is said at once, each with file and line.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engram.datasets import reverse_wordings
from engram.datasets.strict_reading import Problems, lines

FACTS = ["relation", "before", "subject", "object", "aliases"]
WORDINGS = ["relation", "kind", "via", "template"]
NEEDED = {"statement": 2, "paraphrase": 2, "question": 2, "text": 2, "reversed": 1}  # of every relation, at least
HOP, SENTENCE = "hop", "sentence"
ENDS = re.compile(r"[\w,:]$")  # of a wording that an object follows


@dataclass(frozen=True)
class Fact:
    """A subject with its object under a relation."""

    number: int  # in its file, from 0
    relation: str
    before: str  # what running text puts before the subject, as `the`; may be empty
    subject: str
    object: str
    aliases: tuple[str, ...]  # other names of the object, and other objects that are, or might be, right as well

    def template(self, wording: str) -> str:
        """The wording with what stands before the subject put in front of its {}."""
        if not self.before:
            return wording
        words = self.before[0].upper() + self.before[1:] if reverse_wordings.begins(wording) else self.before
        return wording.replace("{}", f"{words} {{}}")

    def text(self, wording: str) -> str:
        """The wording about this subject."""
        return self.template(wording).replace("{}", self.subject)

    def may_be(self, name: str) -> bool:
        """Whether `name` is the object, another name of it, or another object that is, or might be, right as well."""
        return name == self.object or name in self.aliases


@dataclass(frozen=True)
class Hop:
    """A question about what a fact's object has under another relation, `via`."""

    via: str
    template: str


@dataclass(frozen=True)
class Words:
    """The wordings of one relation, the best of each kind first. `{}` is the subject; the object follows all but
    `question` and `text`.
    """

    statement: tuple[str, ...]  # the first is the one that is edited
    paraphrase: tuple[str, ...]
    question: tuple[str, ...]
    text: tuple[str, ...]  # beginnings of texts about the subject
    reversed: tuple[str, ...]  # in the other order than the first statement
    hop: tuple[Hop, ...] = ()


@dataclass(frozen=True)
class Atlas:
    """Facts in the order of their file, the wordings of each relation, and sentences that are about none of them."""

    facts: tuple[Fact, ...]
    words: dict[str, Words]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class _Wording:
    line: int
    relation: str
    kind: str
    via: str
    template: str


def read(facts_file: Path, wordings_file: Path) -> Atlas:
    """The atlas of two files with the columns FACTS and WORDINGS. ValueError names file, line and what would be
    right.
    """
    about_facts, about_words = Problems(facts_file), Problems(wordings_file)
    facts = [_fact(number, line, cells) for number, (line, cells) in enumerate(_rows(facts_file, FACTS))]
    wordings = [_Wording(line, *cells) for line, cells in _rows(wordings_file, WORDINGS)]
    for line, cells in _rows(facts_file, FACTS):
        _check_cells(about_facts, line, dict(zip(FACTS, cells)), ("relation", "subject", "object"))
    _check_facts(about_facts, facts, {one.relation for one in wordings}, wordings_file)
    about_facts.check()
    _check_wordings(about_words, wordings, {fact.relation for _, fact in facts}, facts_file)
    about_words.check()
    _check_subjects(about_words, wordings, facts, facts_file)
    about_words.check()
    return Atlas(
        tuple(fact for _, fact in facts),
        {name: _words(wordings, name) for name in dict.fromkeys(fact.relation for _, fact in facts)},
        tuple(one.template for one in wordings if one.kind == SENTENCE),
    )


def _rows(file: Path, columns: list[str]) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of a csv file with this head; a row is one line."""
    rows = ((number, next(csv.reader([text], strict=True))) for number, text in lines(file))
    try:
        number, head = next(rows, (1, []))
        if head != columns:
            raise ValueError(f"{file}, line {number}: columns {head}; right is {columns}")
        for number, cells in rows:
            if len(cells) != len(columns):
                raise ValueError(f"{file}, line {number}: {len(cells)} cells; right is {len(columns)}: {columns}")
            yield number, cells
    except csv.Error as error:
        raise ValueError(f"{file}: not csv with a row a line: {error}") from error


def _fact(number: int, line: int, cells: list[str]) -> tuple[int, Fact]:
    relation, before, subject, name, aliases = cells
    return line, Fact(number, relation, before, subject, name, tuple(filter(None, aliases.split("|"))))


def _words(wordings: list[_Wording], relation: str) -> Words:
    own = [one for one in wordings if one.relation == relation]
    kinds = {kind: tuple(one.template for one in own if one.kind == kind) for kind in NEEDED}
    return Words(**kinds, hop=tuple(Hop(one.via, one.template) for one in own if one.kind == HOP))


def _check_cells(problems: Problems, line: int, cells: dict[str, str], needed: tuple[str, ...]) -> None:
    for name, cell in cells.items():
        if name in needed and not cell.strip():
            problems.add(f"line {line}", f"column {name!r} is empty")
        if cell != cell.strip():
            problems.add(f"line {line}", f"column {name!r}: {cell!r}; right is without spaces at its ends")
        if name != "template" and ("{" in cell or "}" in cell):
            problems.add(f"line {line}", f"column {name!r}: {cell!r}; right is without braces")


def _check_facts(problems: Problems, facts: list[tuple[int, Fact]], worded: set[str], other: Path) -> None:
    seen: dict[tuple[str, str], int] = {}
    for line, fact in facts:
        key = fact.relation, fact.subject
        if key in seen:
            problems.add(
                f"line {line}", f"a second {fact.relation} of {fact.subject!r}, after line {seen[key]}; right is one"
            )
        seen[key] = line
        if fact.relation and fact.relation not in worded:
            known = ", ".join(sorted(filter(None, worded)))
            problems.add(f"line {line}", f"relation {fact.relation!r} has no wordings in {other}; known are {known}")
        if fact.object in fact.aliases or len(set(fact.aliases)) < len(fact.aliases):
            problems.add(f"line {line}", f"aliases {list(fact.aliases)}; right is each once, and none the object")


def _check_wordings(problems: Problems, wordings: list[_Wording], relations: set[str], other: Path) -> None:
    seen: dict[tuple[str, str], int] = {}
    for one in wordings:
        place = f"line {one.line}"
        needed = ("template",) if one.kind == SENTENCE else ("relation", "template")
        _check_cells(problems, one.line, {name: getattr(one, name) for name in WORDINGS}, needed)
        if one.kind not in (*NEEDED, HOP, SENTENCE):
            problems.add(place, f"kind {one.kind!r}; known are {', '.join((*NEEDED, HOP, SENTENCE))}")
        if one.kind == SENTENCE and one.relation:
            problems.add(place, f"a sentence with the relation {one.relation!r}; right is none, it is about nothing")
        for name in filter(None, (one.relation, one.via)):
            if name not in relations:
                problems.add(place, f"relation {name!r} has no fact in {other}")
        if (one.kind == HOP) != bool(one.via):
            problems.add(place, f"kind {one.kind} with via {one.via!r}; a hop has a second relation, no other kind has")
        _check_template(problems, place, one)
        key = one.relation, one.template
        if key in seen:
            problems.add(place, f"the template of line {seen[key]} again; right is each once")
        seen[key] = one.line
    _check_numbers(problems, wordings, relations)


def _check_template(problems: Problems, place: str, one: _Wording) -> None:
    slots = 0 if one.kind == SENTENCE else 1
    if one.template.count("{}") != slots or len(re.findall("[{}]", one.template)) != 2 * slots:
        problems.add(place, f"template {one.template!r}; right is {'exactly one' if slots else 'no'} {{}}")
    if one.kind == SENTENCE and not one.template.endswith("."):
        problems.add(place, f"sentence {one.template!r}; right is with a full stop")
    elif one.kind == "question" and not one.template.endswith("?"):
        problems.add(place, f"question {one.template!r}; right is with a question mark")
    elif one.kind in ("statement", "paraphrase", "reversed", HOP) and not ENDS.search(one.template):
        problems.add(place, f"template {one.template!r}; right is an end that the object can follow")


def _check_numbers(problems: Problems, wordings: list[_Wording], relations: set[str]) -> None:
    counts = Counter((one.relation, one.kind) for one in wordings)
    for relation in sorted(relations):
        for kind, least in NEEDED.items():
            if (found := counts[relation, kind]) < least:
                problems.add(f"relation {relation!r}", f"{found} of kind {kind}; right is {least} at least")
        own = {one.kind: one for one in reversed(wordings) if one.relation == relation}
        if {"statement", "reversed"} <= set(own):
            pair = own["statement"], own["reversed"]
            if len({reverse_wordings.begins(one.template) for one in pair}) == 1:
                problems.add(
                    f"line {pair[1].line}",
                    f"reversed {pair[1].template!r} of the statement {pair[0].template!r} of line {pair[0].line}; "
                    "right is one that begins with {} and one that does not",
                )
    if not counts["", SENTENCE]:
        problems.add("", f"no {SENTENCE}; right is one at least, which a paraphrase begins with")


def _check_subjects(problems: Problems, wordings: list[_Wording], facts: list[tuple[int, Fact]], other: Path) -> None:
    """Every subject stands once in each of its prompts, as whole words: it is looked for there by its letters."""
    for one in wordings:
        for line, fact in facts:
            if one.kind == SENTENCE:
                wrong = fact.subject in one.template
            elif one.relation == fact.relation:
                wrong = not stands_once(fact.text(one.template), fact.subject)
            else:
                continue
            if wrong:
                problems.add(
                    f"line {one.line}",
                    f"{one.template!r} holds the subject {fact.subject!r} ({other}, line {line}) besides its {{}}",
                )


def stands_once(text: str, subject: str) -> bool:
    """Whether the letters of `subject` occur once in `text`, and there as whole words."""
    begin = text.find(subject)
    sides = text[:begin][-1:] + text[begin + len(subject) :][:1]
    return text.count(subject) == 1 and not any(side.isalnum() for side in sides)
