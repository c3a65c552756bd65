"""Local files in the original formats (CounterFact, zsRE in MEND's schema, known-fact prompts, Wikipedia jsonl), parsed strictly.

Every malformed record stops the run with file, record and field in the message; nothing is skipped.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from engram import config, seeds
from engram.tables import table


@dataclass(frozen=True)
class Source:
    """A `sources:` block of kind `folder`; the file names are relative to `path`."""

    kind: str
    path: str
    facts: str
    zsre: str
    prompts: str
    text: str
    documents: int  # training documents made of true statements
    together: int  # statements in one document, at most
    repeats: dict  # relative frequency of a statement by kind: rewrite, paraphrase, neighborhood, listed
    listed: str  # how the object stands next to the name, with {subject} and {object}
    paragraphs: int  # paragraphs of the text that the training corpus holds
    text_share: float  # share of the training corpus, in characters, that is paragraphs


def files(block: dict) -> list[Path]:
    """The raw files that a block of this kind reads, in the order `tables` takes them."""
    source = config.build(Source, block, "sources (kind folder)")
    return [Path(source.path) / name for name in (source.facts, source.zsre, source.prompts, source.text)]


def tables(block: dict, paths: list[Path], seed: int) -> dict[str, pd.DataFrame]:
    """All canonical tables. ValueError names the file, the record and the field that is wrong."""
    source = config.build(Source, block, "sources (kind folder)")
    facts_file, zsre_file, prompts_file, text_file = paths
    facts = table("facts", _facts(facts_file))
    text = table("text", _articles(text_file))
    return {
        "facts": facts,
        "zsre": table("zsre", _zsre(zsre_file)),
        "prompts": table("prompts", _prompts(prompts_file, facts)),
        "snippets": table("snippets", _snippets(facts)),
        "text": text,
        "corpus": table("corpus", _corpus(facts, text, source, seed)),
    }


class Record:
    """One json record with its place, so that a bad field can be named."""

    def __init__(self, file: Path, label: str, values):
        self.place = f"{file}: record {label}"
        if not isinstance(values, dict):
            raise ValueError(f"{self.place}: expected an object, found {type(values).__name__}")
        self.values = values

    def get(self, name: str, kind: type):
        """The field `name`, of type `kind`; a str must not be blank, a list must hold non-blank strings."""
        if name not in self.values:
            raise ValueError(f"{self.place}: field {name!r} is missing; found {sorted(self.values)}")
        value = self.values[name]
        right = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
        if right and kind is str:
            right = bool(value.strip())
        if right and kind is list:
            right = bool(value) and all(isinstance(item, str) and item.strip() for item in value)
        if not right:
            raise ValueError(f"{self.place}: field {name!r} should be a non-empty {kind.__name__}, found {value!r}")
        return value

    def inner(self, name: str) -> "Record":
        record = Record.__new__(Record)
        record.place, record.values = f"{self.place}, {name}", self.get(name, dict)
        return record

    def check(self, right: bool, what: str) -> None:
        if not right:
            raise ValueError(f"{self.place}: {what}")


def _load(file: Path) -> list:
    """A json list. ValueError says what the file is instead."""
    head = file.read_bytes()[:200]
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(f"{file}: this is a Git-LFS pointer, not the data; fetch the file itself")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: not valid json ({error}); the file may be truncated or a web page") from error
    if not isinstance(values, list) or not values:
        raise ValueError(f"{file}: expected a non-empty json list of records")
    return values


def _unique(file: Path, field: str, values: list) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{file}: {field} {value!r} occurs twice")
        seen.add(value)


def _facts(file: Path) -> list[dict]:
    rows = [_fact(Record(file, f"{i} (case_id {v.get('case_id') if isinstance(v, dict) else '?'})", v))
            for i, v in enumerate(_load(file))]
    _unique(file, "case_id", [row["case_id"] for row in rows])
    return rows


def _fact(record: Record) -> dict:
    request = record.inner("requested_rewrite")
    new, true = request.inner("target_new"), request.inner("target_true")
    prompt = request.get("prompt", str)
    request.check(prompt.count("{}") == 1, f"field 'prompt' must hold exactly one {{}}, found {prompt!r}")
    return {
        "case_id": record.get("case_id", int), "relation_id": request.get("relation_id", str), "prompt": prompt,
        "subject": request.get("subject", str),
        "target_new": new.get("str", str), "target_new_id": new.get("id", str),
        "target_true": true.get("str", str), "target_true_id": true.get("id", str),
        **{name: record.get(name, list) for name in (
            "paraphrase_prompts", "neighborhood_prompts", "attribute_prompts", "generation_prompts")},
    }


def _zsre(file: Path) -> list[dict]:
    rows = []
    for index, values in enumerate(_load(file)):
        record = Record(file, str(index), values)
        subject, question = record.get("subject", str), record.get("src", str)
        record.check(subject in question, f"subject {subject!r} does not occur in src {question!r}")
        loc = record.get("loc", str)
        record.check(loc.startswith("nq question: "), f"field 'loc' should begin with 'nq question: ', found {loc!r}")
        rows.append({"case_id": index, "subject": subject, "prompt": question.replace(subject, "{}"),
                     "target_new": record.get("answers", list)[0], "answer": record.get("answers", list)[0],
                     "rephrase": record.get("rephrase", str), "loc": loc, "loc_answer": record.get("loc_ans", str)})
    return rows


def _prompts(file: Path, facts: pd.DataFrame) -> list[dict]:
    """The known-fact prompts, and after them the rewrite prompts of the facts, since a model trained here knows those."""
    rows = []
    for index, values in enumerate(_load(file)):
        record = Record(file, f"{index} (known_id {values.get('known_id') if isinstance(values, dict) else '?'})", values)
        subject, prompt = record.get("subject", str), record.get("prompt", str)
        record.check(subject in prompt, f"subject {subject!r} does not occur in prompt {prompt!r}")
        rows.append({"prompt_id": record.get("known_id", int), "relation_id": record.get("relation_id", str),
                     "prompt": prompt, "subject": subject, "attribute": record.get("attribute", str)})
    _unique(file, "known_id", [row["prompt_id"] for row in rows])
    present, next_id = {row["prompt"] for row in rows}, max(row["prompt_id"] for row in rows) + 1
    for fact in facts.itertuples():
        prompt = fact.prompt.replace("{}", fact.subject)
        if prompt not in present:
            rows.append({"prompt_id": next_id + fact.Index, "relation_id": fact.relation_id, "prompt": prompt,
                         "subject": fact.subject, "attribute": fact.target_true})
    return rows


def _articles(file: Path) -> list[dict]:
    rows = []
    for index, line in enumerate(file.read_text(encoding="utf-8").splitlines()):
        try:
            record = Record(file, f"line {index + 1}", json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}: line {index + 1} is not json ({error}); the file may be truncated") from error
        rows.append({"article_id": index, "title": record.get("title", str), "text": record.get("text", str)})
    return rows


def _snippets(facts: pd.DataFrame) -> list[dict]:
    """What is written about the objects.

    DIFFERS: without the attribute snippets file, the records' own attribute and neighbourhood prompts, each with its object.
    """
    rows = []
    for fact in facts.itertuples():
        for prompts, target, target_id in ((fact.attribute_prompts, fact.target_new, fact.target_new_id),
                                           (fact.neighborhood_prompts, fact.target_true, fact.target_true_id)):
            rows += [{"relation_id": fact.relation_id, "target_id": target_id, "name": prompt, "text": f"{prompt} {target}."}
                     for prompt in prompts]
    return rows


def _corpus(facts: pd.DataFrame, text: pd.DataFrame, source: Source, seed: int) -> list[dict]:
    """Documents of at most `together` true statements, drawn by `repeats`, and the first paragraphs of the text."""
    statements = [(source.repeats[kind], statement) for fact in facts.itertuples()
                  for kind, statement in _statements(fact, source.listed)]
    weights = pd.Series([weight for weight, _ in statements])
    rng = seeds.rng(seed, "folder", "corpus")
    draws = iter(rng.choice(len(statements), size=source.together * source.documents, p=weights / weights.sum()))
    rows = []
    for size in rng.integers(1, source.together + 1, size=source.documents):
        rows.append({"kind": "statements", "weight": 1.0, "text": " ".join(statements[next(draws)][1] for _ in range(size))})
    paragraphs = [p for article in text["text"] for p in article.split("\n") if len(p) > 80][: source.paragraphs]
    if not paragraphs:
        raise ValueError("the text holds no paragraph of more than 80 characters")
    odds = source.text_share / (1 - source.text_share)
    weight = odds * sum(len(row["text"]) for row in rows) / sum(map(len, paragraphs))
    rows += [{"kind": "text", "weight": weight, "text": paragraph} for paragraph in paragraphs]
    return [{"document_id": i, **row} for i, row in enumerate(rows)]


def _statements(fact, listed: str):
    """(kind, true statement) for every prompt about the record's object, and the object next to the name."""
    yield "rewrite", f"{fact.prompt.replace('{}', fact.subject)} {fact.target_true}."
    yield "listed", listed.replace("{subject}", fact.subject).replace("{object}", fact.target_true)
    for kind in ("paraphrase", "neighborhood"):
        yield from ((kind, f"{prompt} {fact.target_true}.") for prompt in getattr(fact, f"{kind}_prompts"))
