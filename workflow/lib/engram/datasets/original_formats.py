"""The original files, one parser per schema: from a file to the rows of a canonical table, strictly.

counterfact, multi-counterfact (mass edits: no two records ask for different objects of the same statement), zsre
(MEND's schema), prompts (known facts), snippets (texts about names that have an attribute), articles (jsonl), idf and
vocabulary (TF-IDF tables), editor (a published hyper-network; opened by stage `hypernet`), gguf (a model's checkpoint).
"""

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engram.datasets.strict_reading import Problems, Record, is_text, lines, load, load_list, recognised

OTHER = "not an array of numpy (.npy), or truncated: it does not begin like one"
GGUF, VERSIONS = b"GGUF", (2, 3)  # how a checkpoint of this format begins; what can be read of it
LISTS = ("paraphrase_prompts", "neighborhood_prompts", "attribute_prompts", "generation_prompts")


def counterfact(file: Path) -> list[dict]:
    """Rows of table `facts`. ValueError with every malformed record."""
    return _facts(file, Problems(file))


def multi_counterfact(file: Path) -> list[dict]:
    """Rows of table `facts` of MultiCounterFact: CounterFact without records that contradict each other."""
    problems = Problems(file)
    rows, clashes = _facts(file, problems), 0
    asked: dict[tuple[str, str], dict] = {}
    for row in rows:
        statement = row["relation_id"], row["prompt"].replace("{}", row["subject"])
        other = asked.setdefault(statement, row)
        if other["target_new"] != row["target_new"]:
            clashes += 1
            problems.add(
                f"case_id {row['case_id']}",
                f"asks for {row['target_new']!r} where case_id {other['case_id']} asks for "
                f"{other['target_new']!r} (prompt {statement[1]!r})",
            )
    if clashes:
        problems.lines.insert(
            0,
            f"{file}: this is plain CounterFact under the name of MultiCounterFact: {clashes:,} records "
            "contradict earlier ones, which MultiCounterFact has not",
        )
    problems.check()
    return rows


def _facts(file: Path, problems: Problems) -> list[dict]:
    rows = []
    for index, values in enumerate(load_list(file)):
        record = Record(problems, _label(index, values, "case_id"), values)
        row = _fact(record)
        if record.right and all(value is not None for value in row.values()):
            rows.append(row)
    problems.unique("case_id", rows)
    problems.check()
    return rows


def _label(index: int, values: object, *names: str) -> str:
    """How messages call a record: its number, and what the file calls it."""
    words = [f"{name} {values.get(name, '?') if isinstance(values, dict) else '?'}" for name in names]
    return f"record {index} ({', '.join(words)})"


def _fact(record: Record) -> dict:
    request = record.inner("requested_rewrite")
    new, true = request.inner("target_new"), request.inner("target_true")
    prompt = request.get("prompt", str)
    if prompt is not None:
        request.check(prompt.count("{}") == 1, f"field 'prompt' must hold exactly one {{}}, found {prompt!r}")
    row = {
        "case_id": record.get("case_id", int),
        "relation_id": request.get("relation_id", str),
        "prompt": prompt,
        "subject": request.get("subject", str),
        "target_new": new.get("str", str),
        "target_new_id": new.get("id", str),
        "target_true": true.get("str", str),
        "target_true_id": true.get("id", str),
        **{name: record.get(name, list) for name in LISTS},
    }
    record.right = record.right and request.right and new.right and true.right
    return row


def zsre(file: Path) -> list[dict]:
    """Rows of table `zsre`; case_id is the place in the file, as nothing else names a record."""
    problems, rows = Problems(file), []
    for index, values in enumerate(load_list(file)):
        record = Record(problems, f"record {index} (case_id {index})", values)
        subject, question, loc = (record.get(name, str) for name in ("subject", "src", "loc"))
        if subject and question:
            record.check(subject in question, f"subject {subject!r} does not occur in src {question!r}")
        if loc:
            record.check(
                loc.startswith("nq question: "), f"field 'loc' should begin with 'nq question: ', found {loc!r}"
            )
        answers, rephrase, truth = record.get("answers", list), record.get("rephrase", str), record.get("loc_ans", str)
        if record.right:
            rows.append(
                {
                    "case_id": index,
                    "subject": subject,
                    "prompt": question.replace(subject, "{}"),
                    "target_new": answers[0],
                    "target_true": answers[0],
                    "rephrase": rephrase,
                    "loc": loc,
                    "loc_target": truth,
                }
            )
    problems.check()
    return rows


def prompts(file: Path) -> list[dict]:
    """Rows of table `prompts`: the known-fact prompts."""
    problems, rows = Problems(file), []
    for index, values in enumerate(load_list(file)):
        record = Record(problems, _label(index, values, "known_id"), values)
        subject, prompt = record.get("subject", str), record.get("prompt", str)
        if subject and prompt:
            record.check(subject in prompt, f"subject {subject!r} does not occur in prompt {prompt!r}")
        row = {
            "prompt_id": record.get("known_id", int),
            "relation_id": record.get("relation_id", str),
            "prompt": prompt,
            "subject": subject,
            "target_true": record.get("attribute", str),
        }
        if record.right:
            rows.append(row)
    problems.unique("prompt_id", rows, "known_id")
    problems.check()
    return rows


def snippets(file: Path) -> list[dict]:
    """Rows of table `snippets`: one per sample of a (relation, object)."""
    problems, rows = Problems(file), []
    for index, values in enumerate(load_list(file)):
        record = Record(problems, _label(index, values, "relation_id", "target_id"), values)
        relation, target = record.get("relation_id", str), record.get("target_id", str)
        samples = record.values.get("samples")
        record.check(isinstance(samples, list), "field 'samples' should be a list")
        for at, sample in enumerate(samples if isinstance(samples, list) else []):
            inner = Record(problems, f"{record.place}, sample {at}", sample)
            name, text = inner.get("name", str), inner.get("text", str)
            if record.right and inner.right:
                rows.append({"relation_id": relation, "target_id": target, "name": name, "text": text})
    problems.check()
    return rows


def articles(file: Path) -> Iterator[dict]:
    """Rows of table `text` from a file of one article {id, title, text} a line, with the id it has there as `id`."""
    problems = Problems(file)
    index = -1
    for index, (number, line) in enumerate(lines(file)):
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            problems.add(
                f"line {number}", f"not json ({error.msg} at character {error.colno:,}); the file may be truncated"
            )
            continue
        except (ValueError, RecursionError) as error:
            problems.add(f"line {number}", f"not json that can be read: {error}")
            continue
        record = Record(
            problems, f"line {number} (id {values.get('id', '?') if isinstance(values, dict) else '?'})", values
        )
        title, text = record.get("title", str), record.get("text", str)
        name = str(record.values.get("id", index))
        record.check(is_text(name), f"field 'id' should be a word or a number, found {name!r}")
        if record.right:
            yield {"article_id": index, "id": name, "title": title, "text": text}
    if index < 0:
        problems.add("", "no article; expected one json object {id, title, text} a line")
    problems.check()


def idf(file: Path) -> np.ndarray:
    """Inverse document frequencies [V] of the published TF-IDF table."""
    with open(file, "rb") as stream:
        head = stream.read(512)
    if wrong := recognised(head) or (None if head.startswith(b"\x93NUMPY") else OTHER):
        raise ValueError(f"{file}: {wrong}")
    try:
        values = np.load(file, allow_pickle=False)
    except Exception as error:  # whatever numpy, and the parsers below it, say of a damaged header
        raise ValueError(f"{file}: not an array of numpy (.npy), or truncated: {error}") from error
    if values.ndim != 1 or values.dtype.kind != "f" or not np.isfinite(values).all() or not len(values):
        raise ValueError(f"{file}: expected a vector of finite numbers, found {values.dtype} {values.shape}")
    return values


def vocabulary(file: Path) -> dict[str, int]:
    """Word -> column of the published TF-IDF table."""
    values = load(file)
    numbers = list(values.values()) if isinstance(values, dict) else []
    if (
        not numbers
        or any(type(number) is not int for number in numbers)
        or sorted(numbers) != list(range(len(numbers)))
    ):
        raise ValueError(f"{file}: expected an object that gives each word its own number from 0 on")
    return values


def editor(file: Path) -> list[str]:
    """A published hyper-network is one thing: only that it is an archive of torch is checked."""
    with open(file, "rb") as stream:
        head = stream.read(512)
    wrong = recognised(head)
    if wrong or not head.startswith((b"PK\x03\x04", b"\x80\x02")):
        raise ValueError(f"{file}: {wrong or 'not an archive that torch writes (.pt)'}")
    return [file.name]


def gguf(file: Path) -> list[str]:
    """A checkpoint is one thing: only that it begins as one of GGUF, in a version that is known, is checked."""
    with open(file, "rb") as stream:
        head = stream.read(512)
    wrong = recognised(head)
    if wrong or not head.startswith(GGUF):
        raise ValueError(f"{file}: {wrong or f'not a checkpoint in GGUF: it begins with {head[:4]!r}'}")
    version = struct.unpack("<I", head[4:8])[0] if len(head) >= 8 else None
    if version not in VERSIONS:
        raise ValueError(f"{file}: GGUF of version {version}, expected {' or '.join(map(str, VERSIONS))}")
    return [file.name]


PARSERS: dict[str, Callable[[Path], Any]] = {  # schema of a file, as `fetch.files` says it -> its parser
    "counterfact": counterfact,
    "multi-counterfact": multi_counterfact,
    "zsre": zsre,
    "prompts": prompts,
    "snippets": snippets,
    "articles": articles,
    "idf": idf,
    "vocabulary": vocabulary,
    "editor": editor,
    "gguf": gguf,
}
WHOLE = ("idf", "vocabulary", "editor", "gguf")  # without records that could be named
KEYS = ("case_id", "prompt_id", "id")  # what names a record, where something does


def index(file: Path, schema: str) -> tuple[int, list[dict]]:
    """Parse a file completely: how many records it holds, and one row {id, sha256} for each, so that another version of
    it is a visible difference. Tables of numbers, editors and checkpoints have no such rows: the hash of the file says
    it all.
    """
    content = PARSERS[schema](file)
    if schema in WHOLE:
        return len(content), []
    rows = [
        {"id": str(next((row[key] for key in KEYS if key in row), number)), "sha256": _digest(row)}
        for number, row in enumerate(content)
    ]
    return len(rows), rows


def _digest(row: dict) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
