"""From a number in a figure's csv to the raw rows behind it: `engram lineage --value figures/…csv:row,column`.

The way goes over the lineage records: inputs of the csv's job, then, where those were computed from other tables
without a model (metrics, summaries), on to theirs, until tables that a model wrote or that are the source's. Rows are
chosen by engram.provenance.derivation.
"""

import json
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from engram.evaluation import metrics
from engram.job import io, lineage
from engram.provenance import audit, chain, derivation
from engram.provenance.ledger import Ledger

SHOWN = 3  # first rows that are printed
FORMATS = (".parquet", ".csv")
TEXTS = ("texts", "facts", "snippets", "idf", "vocabulary")  # inputs of stage evaluate that only metrics of texts read


class Step(NamedTuple):
    """A file on the way: name of the input, how many steps below the csv, its chosen rows (None of a file without
    rows), how the number follows from them, and how many further files of this input hold no such row.
    """

    name: str
    path: Path
    depth: int
    chosen: derivation.Chosen | None
    follows: str | None
    others: int


class Number(NamedTuple):
    """A cell of a csv: its row (column -> text) and the way to its raw rows."""

    path: Path
    line: int
    column: str
    text: str
    row: dict
    steps: list[Step]


def find(root, spec: str) -> Number:
    """The number at `figures/….csv:row,column` and what is behind it. `row`: a number from 1, or words that only one
    row has, as `rome,ES` or `method=rome,metric=ES`. ValueError, FileNotFoundError with what would be right.
    """
    root = Path(root)
    place, _, words = spec.rpartition(":")
    *choice, column = words.split(",")
    path = Path(place)
    path = path.relative_to(root.resolve()) if path.is_absolute() else path
    if path.suffix != ".csv" or not choice:
        raise ValueError(f"{spec}: right is figures/….csv:row,column")
    table = pd.read_csv(root / path, dtype=str, keep_default_na=False)
    if column not in table:
        raise ValueError(f"{path}: no column {column!r}; there are {', '.join(table)}")
    line = _line(path, table, choice)
    row = table.iloc[line].to_dict()
    text = row[column]
    if text == "":
        raise ValueError(f"{path}, row {line + 1}: column {column} is empty")
    keys = derivation.keys_of(row, column, derivation.measured(table))
    return Number(path, line + 1, column, text, row, list(_behind(root, path, keys, row, column, 1, {path}, {})))


def _line(path: Path, table: pd.DataFrame, choice: list[str]) -> int:
    """The row that is meant, from 0."""
    if len(choice) == 1 and choice[0].isdigit():
        if not 1 <= int(choice[0]) <= len(table):
            raise ValueError(f"{path}: no row {choice[0]}; there are {len(table)}, counted from 1 below the header")
        return int(choice[0]) - 1
    fits = pd.Series(True, index=table.index)
    for word in choice:
        name, _, value = word.rpartition("=")
        if name and name not in table:
            raise ValueError(f"{path}: no column {name!r}; there are {', '.join(table)}")
        fits &= table[name] == value if name else (table == word).any(axis=1)
    if fits.sum() != 1:
        found = ", ".join(str(index + 1) for index in table.index[fits][:5])
        raise ValueError(
            f"{path}: {fits.sum()} rows have {', '.join(choice)}{f' ({found} …)' if found else ''}; right is one: "
            "add words, as method=rome, or give its number"
        )
    return int(fits.idxmax())


def _behind(root: Path, path: Path, keys: dict, row: dict, column: str, depth: int, seen: set, ids: dict):
    """The steps below one table: tables that its job wrote beside it and the job's inputs, each with what is below it.

    `ids`: of the records or prompts that the rows above are of.
    """
    record, number = audit.read_record(root, path), row[column]
    places = [
        *_beside(root, path, record),
        *(
            (one["name"], Path(one["path"]))
            for one in record["inputs"]
            if not _unread(one["name"], record["stage"], keys)
        ),
    ]
    tables = {place: _read(root / place) for _, place in places if place.suffix in FORMATS}
    points, prompts = record["params"].get("points", {}), _prompts(tables)
    chosen = {
        place: derivation.alike(derivation.of_ids(one, ids), row)
        for place, one in _chosen(keys, tables, points, prompts).items()
    }
    for name, place in places:
        if place in seen or (place in tables and chosen[place] is None):
            continue
        seen.add(place)
        one, near = chosen.get(place), [other for file, other in chosen.items() if other and file != place]
        others = sum(chosen.get(file, ...) is None for other, file in places if other == name)
        follows = derivation.follows(number, one, near, column) if one else None
        if one and one.filters and not follows:
            one, follows = derivation.narrowed(number, keys, tables[place], points, prompts, near, column) or (
                one,
                derivation.one_of(number, one, column),
            )
        yield Step(name, place, depth, one, follows, others)
        if one and _computed(root, place):
            yield from _behind(
                root, place, keys | _said_by(one.rows), row, column, depth + 1, seen, derivation.ids(one) or ids
            )


def _prompts(tables: dict) -> pd.DataFrame | None:
    """The tables of prompts among the tables of a job, as one."""
    found = [table for table in tables.values() if {*derivation.TOKENS} <= set(table)]
    return pd.concat(found, ignore_index=True) if found else None


def _chosen(keys: dict, tables: dict, points: dict, prompts) -> dict[Path, derivation.Chosen | None]:
    """The rows of every table; those of a table that the keys do not name belong to rows that were chosen in others."""
    direct = {place: derivation.choose(keys, table, points, prompts) for place, table in tables.items()}
    narrowed = [one for one in direct.values() if one and one.filters]
    return {
        place: one if one is None or one.filters else derivation.related(tables[place], narrowed)
        for place, one in direct.items()
    }


def _beside(root: Path, path: Path, record: dict):
    """Tables that the same job wrote."""
    for other in sorted((root / path).parent.iterdir()):
        place = other.relative_to(root)
        if (
            place != path
            and other.suffix in FORMATS
            and (root / lineage.record_path(place)).is_file()
            and audit.read_record(root, place)["command"] == record["command"]
        ):
            yield "written with it", place


def _unread(name: str, stage: str, keys: dict) -> bool:
    """Whether a metric does not depend on an input: those of texts read no probabilities, the others no texts."""
    if stage != "evaluate" or "metric" not in keys:
        return False
    return (keys["metric"] in metrics.TEXTS) != (name in TEXTS)


def _computed(root: Path, path: Path) -> bool:
    """Whether a table was made from others without a model; the source's own tables are raw."""
    if not (root / lineage.record_path(path)).is_file():
        return False
    record = audit.read_record(root, path)
    return "run" not in record["params"] and record["stage"] != "dataset"


def _said_by(table: pd.DataFrame) -> dict[str, str]:
    """What all rows of a table agree on, besides measured columns."""
    names = [name for name in table if name not in {*derivation.MEASURED, *derivation.measured(table)}]
    return {name: str(table[name].iloc[0]) for name in names if table[name].astype(str).nunique() == 1}


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not here; `dvc pull` or a run brings it back")
    if path.suffix == ".parquet":
        return io.read_table(path)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table.assign(**{name: pd.to_numeric(table[name].replace("", None)) for name in derivation.measured(table)})


def report(root, number: Number) -> str:
    """The way as text: every file with its hash, the rule that chose its rows, their first ones, and the job that made
    it.
    """
    root, about = Path(root), ", ".join(f"{name}={text}" for name, text in number.row.items() if name != number.column)
    lines = [
        f"{number.path}, row {number.line}, {number.column} = {number.text}   ({about})",
        *_made(root, number.path, "  "),
    ]
    for step in number.steps:
        indent = "   " * step.depth
        lines.append(
            f"{indent}└─ {step.name}: {step.path}"
            + (f"   ({step.others} other files have no such row)" if step.others else "")
        )
        lines += _made(root, step.path, f"{indent}   ")
        lines += [f"{indent}   {line}" for line in _rows(step.chosen, step.follows, number.text)]
    return "\n".join(lines)


def _made(root: Path, path: Path, indent: str) -> list[str]:
    if not (root / lineage.record_path(path)).is_file():
        return [f"{indent}raw input, sha256 {lineage.sha256(root / path)}"]
    record, verdict = audit.read_record(root, path), audit.verdicts(root, [path])[0]
    state = "verified" if verdict.word == audit.OK else f"{verdict.word} {verdict.detail}"
    return [
        f"{indent}stage {record['stage']}, code {record['code']}, sha256 {record['sha256']}: {state}",
        f"{indent}{chain.when(chain.job(record, Ledger(root).of(path, record)))}",
    ]


def _rows(chosen: derivation.Chosen | None, follows: str | None, text: str):
    if chosen is None:
        yield "a file without rows: the whole of it"
        return
    named = f"; column {', '.join(chosen.columns)}" if chosen.columns else ""
    rule = ", ".join(chosen.filters) or "all rows, no column of the csv narrows them"
    yield f"{len(chosen.rows):,} of {chosen.total:,} rows: {rule}{named}"
    if follows:
        yield f"{text} is {follows}"
    with pd.option_context("display.max_columns", 30, "display.width", 200, "display.max_colwidth", 32):
        yield from chosen.rows.head(SHOWN).to_string(index=False).splitlines()


def as_json(root, number: Number) -> dict:
    """The same for machines."""
    root = Path(root)
    steps = [
        {
            "input": step.name,
            "path": str(step.path),
            "depth": step.depth,
            "sha256": lineage.sha256(root / step.path),
            "rows": step.chosen and len(step.chosen.rows),
            "of": step.chosen and step.chosen.total,
            "filters": step.chosen and step.chosen.filters,
            "columns": step.chosen and step.chosen.columns,
            "follows": step.follows,
            "others": step.others,
        }
        for step in number.steps
    ]
    return {
        "csv": str(number.path),
        "row": number.line,
        "column": number.column,
        "number": number.text,
        "keys": number.row,
        "steps": steps,
    }


def main(root, spec: str, form: str) -> str:
    """The way from a number to its raw rows, as text or json. ValueError for the forms that only a chain has."""
    if form not in ("tree", "json"):
        raise ValueError(f"--value has no form {form}; right is none, or --json")
    number = find(root, spec)
    return report(root, number) if form == "tree" else json.dumps(as_json(root, number), indent=1)
