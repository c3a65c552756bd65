"""From a number in a figure's csv to the raw rows behind it: `engram lineage --value figures/…csv:row,column`.

The way goes over records of lineage and declarations: the record of a table names the script that made it and the files
that it read, the script declares which rows of them each column follows from (engram.evaluation.derivation), and so on
with those rows, until tables that a model wrote or that are a source's. The declaration also computes the number again:
it is said if that gives another one.
"""

import importlib.util
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from engram.evaluation import metrics
from engram.evaluation.derivation import FILE, PLACE, Aggregate, Derivation, Key, Tables
from engram.job import code_digest, io, lineage
from engram.provenance import audit, chain
from engram.provenance.ledger import Ledger

SHOWN = 3  # first rows that are printed
DIGITS = 6e-6  # two numbers are equal if they agree in the six digits of a csv


class Table(NamedTuple):
    """A table that was computed from others without a model: how, by which job, and from which files."""

    derivation: Derivation
    job: SimpleNamespace
    inputs: dict[str, list[Path]]

    def tables(self, root: Path) -> Tables:
        """The tables that it was computed from, every row marked with its file and place there. FileNotFoundError says
        what brings a missing one back.
        """
        for path in (path for paths in self.inputs.values() for path in paths):
            if not (root / path).is_file():
                raise FileNotFoundError(f"{path} is not here; `dvc pull` or a run brings it back")
        return Tables({name: [root / path for path in paths] for name, paths in self.inputs.items()}, marked=True)


class Step(NamedTuple):
    """A file on the way to the raw rows.

    name: of the input that it is; depth: how many steps below the csv; rows: those behind the number, of `total`, and
    how they were chosen; columns: of them, those that count; follows: how these follow from the next files, None of raw
    rows; again: whether computing them again gives the same; others: how many files of the input have no such row.
    """

    name: str
    path: Path
    depth: int
    rows: pd.DataFrame
    total: int
    filters: list[str]
    columns: list[str]
    follows: str | None
    again: bool
    others: int


class Number(NamedTuple):
    """A cell of a csv: its row (column -> text), how it follows, whether it does, and the way to its raw rows."""

    path: Path
    line: int
    column: str
    text: str
    row: dict[str, str]
    follows: str
    again: bool
    steps: list[Step]


def find(root: str | Path, spec: str) -> Number:
    """The number at `figures/….csv:row,column` and what is behind it. `row`: a number from 1, or words that only one
    row has, as `rome,ES` or `method=rome,metric=ES`. ValueError, FileNotFoundError with what would be right.
    """
    root = Path(root)
    place, _, words = spec.partition(".csv:")
    *choice, column = words.split(",")
    path = Path(f"{place}.csv")
    path = path.relative_to(root.resolve()) if path.is_absolute() else path
    if not choice:
        raise ValueError(f"{spec}: right is figures/….csv:row,column")
    csv = pd.read_csv(root / path, dtype=str, keep_default_na=False)
    if column not in csv:
        raise ValueError(f"{path}: no column {column!r}; there are {', '.join(csv)}")
    line = _line(path, csv, choice)
    row = csv.iloc[line].to_dict()
    if row[column] == "":
        raise ValueError(f"{path}, row {line + 1}: column {column} is empty")
    return _traced(root, path, line, column, row)


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
        lines = ", ".join(str(index + 1) for index in table.index[fits][:5])
        raise ValueError(
            f"{path}: {fits.sum()} rows have {', '.join(choice)}{f' ({lines} …)' if lines else ''}; right is one: "
            "add words, as method=rome, or give its number"
        )
    return int(fits.idxmax())


def _traced(root: Path, path: Path, line: int, column: str, row: dict[str, str]) -> Number:
    """The number with its way. The item's rows are found again: they may have more keys than the csv shows."""
    table = derived(root, path)
    if table is None:
        raise ValueError(f"{path}: not computed from tables by a stage of this workflow, as far as a record says")
    tables = table.derivation.prepared(table.tables(root), table.job)
    rows = table.derivation.rows(tables, table.job).reset_index(drop=True)
    keys = rows.iloc[[line]] if line < len(rows) else rows.iloc[:0]
    again = len(keys) == 1 and same(table.derivation.of_rows(keys, tables)[[column]], row)
    number = table.derivation.columns[column]
    follows = number.words(keys.iloc[0]) if len(keys) else "of a row that its code does not make"
    way = list(steps(root, table, tables, keys, [column])) if len(keys) else []
    return Number(path, line + 1, column, row[column], row, follows, again, way)


def same(frame: pd.DataFrame, row: dict[str, str]) -> bool:
    """Whether the one row of a frame has the texts of a row of a csv, numbers in six digits."""
    for name in frame:
        value, text = frame[name].iloc[0], row[str(name)]
        if pd.isna(value) or text == "":
            equal = pd.isna(value) and text == ""
        elif isinstance(value, str):
            equal = value == text
        else:
            equal = str(value) == text or (_is_number(text) and bool(np.isclose(float(value), float(text), DIGITS, 0)))
        if not equal:
            return False
    return True


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def derived(root: Path, path: Path) -> Table | None:
    """How a file was computed from tables; None of one that a model, a source or nobody wrote."""
    if not (root / lineage.record_path(path)).is_file():
        return None
    record = audit.read_record(root, path)
    script, *words = record["command"]
    job = SimpleNamespace(config=record["params"], keys=SimpleNamespace(**record["keys"]), script=Path(script))
    outputs = {flag.removeprefix("--"): value for flag, value in itertools.pairwise(words) if flag.startswith("--")}
    inputs: dict[str, list[Path]] = {}
    for source in record["inputs"]:
        inputs.setdefault(source["name"], []).append(Path(source["path"]))
    name = next((name for name, value in outputs.items() if Path(value).name == path.name), "")
    if record["stage"] == "evaluate":
        made = list(metrics.derivations(job))
        inputs |= {other: [path.with_name(Path(outputs[other]).name)] for other in made[: made.index(name)]}
        return Table(metrics.derivations(job)[name], job, inputs)
    if name == "csv" and Path(script).parent.parent.name == "figures":
        return Table(_loaded(code_digest.LIBRARY.parents[1] / script).DERIVATION, job, inputs)
    return None


def _loaded(script: Path) -> ModuleType:
    """The code of an item."""
    spec = importlib.util.spec_from_file_location(script.stem, script)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{script}: no such code of an item")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def steps(
    root: Path, table: Table, tables: Tables, keys: pd.DataFrame, columns: list[str], depth: int = 1
) -> Iterator[Step]:
    """The files behind columns of some rows of a table (`keys`, from its prepared `tables`), each with those behind it
    in turn.
    """
    parts = [part for column in columns for part in table.derivation.parts(keys, column)]
    marks: dict[tuple[str, Path], list[tuple[Aggregate, pd.DataFrame, pd.DataFrame]]] = {}
    for aggregate, own in parts:
        name, behind = aggregate.rows.input, aggregate.rows.behind(own, tables)
        if isinstance(behind, Path):
            yield Step(name, behind.relative_to(root), depth, pd.DataFrame(), 0, [], [], None, True, 0)
        elif behind is not None:
            counted = [column for column in aggregate.columns if column in behind]
            behind = behind.dropna(subset=counted, how="all") if counted else behind
            for at, rows in behind.groupby(FILE):
                marks.setdefault((name, table.inputs[name][int(at)]), []).append((aggregate, own, rows))
    for (name, path), uses in marks.items():
        every = io.read_table(root / path)
        rows = every.iloc[sorted({int(place) for _, _, part in uses for place in part[PLACE]})]
        wanted = list(dict.fromkeys(column for aggregate, _, _ in uses for column in aggregate.columns))
        wanted = [column for column in wanted if column in every]
        below = derived(root, path)
        others = len(table.inputs[name]) - len({file for flag, file in marks if flag == name})
        filters = _filters(uses)
        if below is None:
            yield Step(name, path, depth, rows, len(every), filters, wanted, None, True, others)
            continue
        wanted = [column for column in wanted if column in below.derivation.columns] or list(below.derivation.columns)[
            :1
        ]
        next_tables = below.derivation.prepared(below.tables(root), below.job)
        again = below.derivation.of_rows(rows, next_tables)[wanted]
        numbers = [below.derivation.columns[column] for column in wanted]
        follows = "; ".join(f"{column} is {number.words(rows.iloc[0])}" for column, number in zip(wanted, numbers))
        yield Step(name, path, depth, rows, len(every), filters, wanted, follows, _equal(again, rows[wanted]), others)
        if not all(isinstance(number, Key) for number in numbers):
            yield from steps(root, below, next_tables, rows, wanted, depth + 1)


def _filters(uses: list[tuple[Aggregate, pd.DataFrame, pd.DataFrame]]) -> list[str]:
    """How the rows were chosen, column by column: `layer = 3`, `case_id: one of 200`."""
    values: dict[str, set] = {}
    for aggregate, own, _ in uses:
        for column, value in aggregate.rows.where:
            values.setdefault(column, set()).update(value if isinstance(value, tuple) else (value,))
        for column in aggregate.rows.by:
            values.setdefault(column, set()).update(own[column].dropna())
    return [
        f"{column} = {' or '.join(sorted(map(str, some)))}" if len(some) < 6 else f"{column}: one of {len(some)}"
        for column, some in values.items()
    ]


def _equal(again: pd.DataFrame, rows: pd.DataFrame) -> bool:
    """Whether what was computed again are the cells of a file, numbers in six digits."""
    return all(
        bool(np.isclose(again[name].astype(float), rows[name].astype(float), DIGITS, 1e-12, equal_nan=True).all())
        if pd.api.types.is_float_dtype(rows[name])
        else list(again[name]) == list(rows[name])
        for name in rows
    )


def report(root: str | Path, number: Number) -> str:
    """The way as text: how the number follows, then every file with its hash, the job that made it, how its rows were
    chosen, the first of them, and how they follow in turn.
    """
    root, about = Path(root), ", ".join(f"{name}={text}" for name, text in number.row.items() if name != number.column)
    lines = [
        f"{number.path}, row {number.line}, {number.column} = {number.text}   ({about})",
        *_made(root, number.path, "  "),
        f"  {number.column} is {number.follows}{_doubt(number.again)}",
    ]
    for step in number.steps:
        indent = "   " * step.depth
        more = f"   ({step.others} other files have no such row)" if step.others else ""
        lines.append(f"{indent}└─ {step.name}: {step.path}{more}")
        lines += _made(root, step.path, f"{indent}   ")
        lines += [f"{indent}   {line}" for line in _rows(step)]
    return "\n".join(lines)


def _doubt(again: bool) -> str:
    return "" if again else "; NOT TRUE of this file: computed again, it is another"


def _made(root: Path, path: Path, indent: str) -> list[str]:
    if not (root / lineage.record_path(path)).is_file():
        return [f"{indent}raw input, sha256 {lineage.sha256(root / path)}"]
    record, verdict = audit.read_record(root, path), audit.verdicts(root, [path])[0]
    state = "verified" if verdict.word == audit.OK else f"{verdict.word} {verdict.detail}"
    return [
        f"{indent}stage {record['stage']}, code {record['code']}, sha256 {record['sha256']}: {state}",
        f"{indent}{chain.when(chain.job(record, Ledger(root).of(path, record)))}",
    ]


def _rows(step: Step) -> Iterator[str]:
    if not step.total:
        yield "a file without rows: the whole of it"
        return
    named = f"; column {', '.join(step.columns)}" if step.columns else ""
    yield f"{len(step.rows):,} of {step.total:,} rows: {', '.join(step.filters) or 'all'}{named}"
    with pd.option_context("display.max_columns", 30, "display.width", 200, "display.max_colwidth", 32):
        yield from step.rows.head(SHOWN).to_string(index=False).splitlines()
    if step.follows:
        yield f"{step.follows}{_doubt(step.again)}"


def as_json(root: str | Path, number: Number) -> dict[str, Any]:
    """The way as a dict that json can hold: the fields of Number and of its Steps, of rows how many there are; each
    step with its file's sha256.
    """
    steps = [
        step._asdict()
        | {"path": str(step.path), "rows": len(step.rows), "sha256": lineage.sha256(Path(root) / step.path)}
        for step in number.steps
    ]
    return number._asdict() | {"path": str(number.path), "steps": steps}


def main(root: str | Path, spec: str, form: str) -> str:
    """The way from a number to its raw rows, as text or json. ValueError for the forms that only a chain has."""
    if form not in ("tree", "json"):
        raise ValueError(f"--value has no form {form}; right is none, or --json")
    number = find(root, spec)
    return report(root, number) if form == "tree" else json.dumps(as_json(root, number), indent=1)
