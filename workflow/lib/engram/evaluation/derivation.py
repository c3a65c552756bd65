"""How the numbers of a table follow from the rows of other tables: declared once, computed and traced from that.

    EFFECTS = Rows("effects", by=("variant", "site", "layer"))
    PROMPTS = Rows("traced", by=("variant",))
    COLUMNS = {
        "variant": KEY, "site": KEY, "layer": KEY,
        "indirect_effect": EFFECTS.mean("score") - PROMPTS.mean("corrupted"),
        "count": EFFECTS.count(),
    }

`Derivation(COLUMNS, rows).compute(tables, job)` is the table; `Number.parts` names the rows behind one of its numbers,
which is what `engram lineage --value` prints.
"""

import contextlib
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import pandas as pd

from engram.job import io, schemas

SCHEMAS: dict[str, Any] = {  # of inputs by name: an input is named as the output that it is
    name: schema
    for stage in ("dataset", "trace", "gradients", "edit", "evaluate")
    for name, schema in schemas.OUTPUTS[stage].items()
} | {"summaries": schemas.SUMMARY}
FILE, PLACE = "_file", "_place"  # columns of tables that are read for tracing: which file a row is from, and its row


class Job(Protocol):
    """What a derivation may depend on besides its tables: settings and keys of the job, as its record of lineage has
    them.
    """

    config: dict
    keys: SimpleNamespace
    script: Path


class Tables(dict):
    """The inputs of a job by name, read when first asked for: several files are one table, in their order; what is
    neither parquet nor csv stays a path. `marked`: tables get the columns FILE and PLACE.
    """

    def __init__(self, inputs: Mapping[str, Any], marked: bool = False):
        super().__init__()
        self.marked = marked
        self.files = {
            name: [Path(path) for path in (paths if isinstance(paths, list) else [paths])]
            for name, paths in inputs.items()
            if paths is not None and paths != []
        }

    @classmethod
    def of(cls, **frames: Any) -> "Tables":
        """Tables that are there already."""
        return cls({}).with_(frames)

    def __missing__(self, name: str) -> Any:
        self[name] = self._read(name, self.files[name])
        return self[name]

    def __contains__(self, name: object) -> bool:
        return name in self.files or super().__contains__(name)

    def _read(self, name: str, files: list[Path]) -> Any:
        if files[0].suffix not in (".parquet", ".csv"):
            return files[0]
        parts = [io.read_table(path, SCHEMAS.get(name)) for path in files]
        if self.marked:
            parts = [part.assign(**{FILE: at, PLACE: range(len(part))}) for at, part in enumerate(parts)]
        return pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]

    def with_(self, more: Mapping[str, Any]) -> "Tables":
        """These tables, and those of `more`; of two with one name that of `more`. None takes a table away."""
        both = Tables({}, self.marked)
        both.files = {name: files for name, files in self.files.items() if name not in more}
        both.update({name: table for name, table in (dict(self) | dict(more)).items() if table is not None})
        return both


class LeftOut(Exception):
    """A number is of an optional table that is not there."""


class Number:
    """How a column of a table is computed: an expression over rows of other tables."""

    def compute(self, rows: pd.DataFrame, tables: Tables) -> pd.Series:
        """The values for `rows`, which hold the keys of the table's rows, with the index of `rows`."""
        raise NotImplementedError

    def parts(self, rows: pd.DataFrame) -> Iterator[tuple["Aggregate", pd.DataFrame]]:
        """The aggregates behind the values of `rows`, each with those of the rows that it is behind of."""
        raise NotImplementedError

    def words(self, row: Mapping[str, Any]) -> str:
        """How the value of one row follows, as the end of a sentence: `the mean of column score of effects`."""
        raise NotImplementedError

    def __sub__(self, other: "Number") -> "Formula":
        return Formula("{} less {}", operator.sub, (self, other))

    def __rmul__(self, factor: float) -> "Formula":
        return Formula(f"{factor:g} x {{}}", lambda values: factor * values, (self,))


@dataclass(frozen=True)
class Key(Number):
    """A column that says which row this is; it selects rows of other tables, and follows from nothing."""

    about: str = "what its row is about: it chooses the rows below"
    name: str | None = None

    def compute(self, rows: pd.DataFrame, tables: Tables) -> pd.Series:
        """The key `name` itself, where a column is a key in some rows alone."""
        return rows[self.name]

    def parts(self, rows: pd.DataFrame) -> Iterator[tuple["Aggregate", pd.DataFrame]]:
        """None of its own."""
        yield from ()

    def words(self, row: Mapping[str, Any]) -> str:
        """What the column is."""
        return self.about


KEY = Key()


def own(name: str) -> Key:
    """The key of this name, for a column that is a key in some rows and a number in others."""
    return Key(name=name)


@dataclass(frozen=True)
class Rows:
    """Rows of a table: those whose columns `where` have a value (or one of several), and whose columns `by` have the
    values that the number's own row has in the columns of the same names.

    `optional`: a column of numbers from a table that is not there is left out, and missing where it has no such row.
    `of_input`: the input whose rows a prepared table holds, if it has another name.
    """

    table: str
    by: tuple[str, ...] = ()
    where: tuple[tuple[str, Any], ...] = ()
    optional: bool = False
    of_input: str = ""

    @property
    def input(self) -> str:
        """The input that the rows are from."""
        return self.of_input or self.table

    def only(self, **where: Any) -> "Rows":
        """Those of the rows that also have these values; a tuple: one of them."""
        return replace(self, where=(*self.where, *where.items()))

    def of(self, tables: Tables) -> Any:
        """The rows of the table that have the values `where`, whatever their columns `by`. The path of a file that is
        no table; None for an optional one that is not there.
        """
        if self.optional and self.table not in tables:
            return None
        table = tables[self.table]
        for column, value in self.where:
            table = table[table[column].isin(value) if isinstance(value, tuple) else table[column] == value]
        return table

    def behind(self, rows: pd.DataFrame, tables: Tables) -> Any:
        """The rows of the table, as `of` gives them, that are behind any of `rows`."""
        table = self.of(tables)
        if not self.by or table is None:
            return table
        return table[_index(table, self.by).isin(_index(rows, self.by))]

    def cell(self, column: str) -> "Aggregate":
        """The cell of the one row. ValueError if there are several, or none and the rows are not optional."""
        return self.apply(self._cell, "", column)

    def _cell(self, table: pd.DataFrame, by: list[str]) -> Any:
        column = table.columns[-1]
        if not by and len(table) == 1:
            return table[column].iloc[0]
        cells = table.set_index(by)[column] if by else table[column]
        if not by or cells.index.has_duplicates:
            first = cells.index[cells.index.duplicated()][:1].tolist() if by else len(table)
            raise ValueError(f"{self.table}: {', '.join(by)} {first} occurs twice; right is one row")
        return cells

    def mean(self, column: str, grouped: bool = False) -> "Aggregate":
        """The mean of a column. `grouped`: summed as pandas sums groups, which rounds otherwise than a series alone."""
        if grouped:
            return self.apply(lambda table, by: table.groupby(by)[column].mean(), "mean", column)
        return self.of_column(lambda values: values.mean(), "mean", column)

    def deviation(self, column: str) -> "Aggregate":
        """The population's standard deviation of a column."""
        return self.of_column(lambda values: values.std(ddof=0), "standard deviation", column)

    def half_width(self, column: str) -> "Aggregate":
        """Half the width of the 95% interval of the mean of a column: 1.96 standard deviations / sqrt(rows)."""
        return self.of_column(half_width, "half width of the 95% interval", column)

    def count(self, column: str | None = None) -> "Aggregate":
        """How many rows there are; of a column, how many of its cells are not missing."""
        if column:
            return self.of_column(lambda values: values.count(), "number", column)
        return self.apply(lambda table, by: table.groupby(by).size() if by else len(table), "number of rows")

    def of_column(self, function: Callable[[pd.Series], Any], name: str, column: str) -> "Aggregate":
        """A function of the column's cells behind one number; `name` says in words what it gives."""

        def of_column(table: pd.DataFrame, by: list[str]) -> Any:
            return table.groupby(by)[column].agg(function) if by else function(table[column])

        return self.apply(of_column, name, column)

    def each(self, function: Callable[[pd.DataFrame], Any], name: str, *columns: str) -> "Aggregate":
        """A function of the rows of one number, from the frame of `columns`; `name` says in words what it gives."""

        def each(table: pd.DataFrame, by: list[str]) -> Any:
            return table.groupby(by)[list(columns)].apply(function) if by else function(table[list(columns)])

        return self.apply(each, name, *columns)

    def apply(
        self, function: Callable[..., Any], name: str, *columns: str, also: tuple["Rows", ...] = ()
    ) -> "Aggregate":
        """A function of the rows of all numbers at once: of the frame (columns `by` and `columns`), the names `by` and
        the rows `also` of other tables. It returns a series indexed by `by`; a value, if `by` is empty.
        """
        return Aggregate(self, columns, name, function, also)


def half_width(values: pd.Series) -> float:
    """Half the width of the 95% interval of the mean: 1.96 standard deviations of the population / sqrt(N)."""
    return 1.96 * values.std(ddof=0) / np.sqrt(values.count())


def _index(table: pd.DataFrame, by: tuple[str, ...]) -> pd.Index:
    return pd.Index(table[by[0]]) if len(by) == 1 else pd.MultiIndex.from_frame(table[list(by)])


@dataclass(frozen=True)
class Aggregate(Number):
    """A number from rows of one table."""

    rows: Rows
    columns: tuple[str, ...]
    name: str
    function: Callable[..., Any]
    also: tuple[Rows, ...] = ()

    def compute(self, rows: pd.DataFrame, tables: Tables) -> pd.Series:
        """The aggregate of the rows behind each of `rows`. ValueError if there are none and they are not optional."""
        by, table = list(self.rows.by), self.rows.of(tables)
        if table is None:
            raise LeftOut(self.rows.table)
        columns = [name for name in self.columns if name not in by]
        values = self.function(table[[*by, *columns]], by, *(other.of(tables) for other in self.also))
        if not by:
            return pd.Series([values] * len(rows), rows.index)
        wanted = _index(rows, self.rows.by)
        if not self.rows.optional and len(missing := wanted[~wanted.isin(values.index)].dropna()):
            raise ValueError(f"{self.rows.table}: no row with {', '.join(by)} {missing[0]}")
        return pd.Series(values.reindex(wanted).array, rows.index)

    def parts(self, rows: pd.DataFrame) -> Iterator[tuple["Aggregate", pd.DataFrame]]:
        """This one, behind all of the rows, and what it reads besides."""
        yield self, rows
        for other in self.also:
            yield Aggregate(other, (), "", len), rows

    def words(self, row: Mapping[str, Any]) -> str:
        """The aggregate, its columns and the input: `the mean of column score of effects`."""
        if not self.columns:
            return f"the {self.name} of {self.rows.input}"
        if len(self.columns) == 1:
            return f"{f'the {self.name} of ' if self.name else ''}column {self.columns[0]} of {self.rows.input}"
        return f"the {self.name}, from columns {', '.join(self.columns)} of {self.rows.input}"


@dataclass(frozen=True)
class Formula(Number):
    """A function of other numbers of the same row; `form`: how it is said, with {} for each of them."""

    form: str
    function: Callable[..., Any]
    operands: tuple[Number, ...]

    def compute(self, rows: pd.DataFrame, tables: Tables) -> pd.Series:
        """The function of the operands' values for the same rows."""
        return self.function(*(operand.compute(rows, tables) for operand in self.operands))

    def parts(self, rows: pd.DataFrame) -> Iterator[tuple[Aggregate, pd.DataFrame]]:
        """Those of the operands."""
        for operand in self.operands:
            yield from operand.parts(rows)

    def words(self, row: Mapping[str, Any]) -> str:
        """The form with the words of the operands."""
        return self.form.format(*(operand.words(row) for operand in self.operands))


@dataclass(frozen=True)
class Choice(Number):
    """A number that is another one for each value of a key; missing for a value that `cases` does not have."""

    key: str
    cases: Mapping[Any, Number] = field(default_factory=dict)

    def compute(self, rows: pd.DataFrame, tables: Tables) -> pd.Series:
        """The values of the case that each row's key names."""
        parts = [
            self.cases[value].compute(part, tables)
            for value, part in rows.groupby(self.key, sort=False)
            if value in self.cases
        ]
        return (pd.concat(parts) if parts else pd.Series(dtype=float)).reindex(rows.index)

    def parts(self, rows: pd.DataFrame) -> Iterator[tuple[Aggregate, pd.DataFrame]]:
        """Those of the cases that occur."""
        for value, part in rows.groupby(self.key, sort=False):
            if value in self.cases:
                yield from self.cases[value].parts(part)

    def words(self, row: Mapping[str, Any]) -> str:
        """Those of the case that the row's key names."""
        return self.cases[row[self.key]].words(row) if row[self.key] in self.cases else "nothing"


def _nothing(tables: Tables, job: Job) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Derivation:
    """A table: how each of its columns is computed, in their order, and which rows it has.

    `rows(tables, job)` is a frame of the keys of the rows, which may hold more keys than the table shows;
    `prepare(tables, job)` gives tables that the rows and the columns read in the place of inputs, or beside them: an
    input's rows with more columns, or some of them.
    """

    columns: Mapping[str, Number]
    rows: Callable[[Tables, Job], pd.DataFrame]
    prepare: Callable[[Tables, Job], dict[str, Any]] = _nothing

    def prepared(self, tables: Tables, job: Job) -> Tables:
        """The inputs and what `prepare` makes of them."""
        return tables.with_(self.prepare(tables, job))

    def compute(self, tables: Tables, job: Job) -> pd.DataFrame:
        """The table."""
        tables = self.prepared(tables, job)
        return self.of_rows(self.rows(tables, job).reset_index(drop=True), tables)

    def of_rows(self, rows: pd.DataFrame, tables: Tables) -> pd.DataFrame:
        """The columns of the table for some rows of keys, from prepared tables."""
        columns = {}
        for name, number in self.columns.items():
            if not isinstance(number, Key):
                with contextlib.suppress(LeftOut):
                    columns[name] = number.compute(rows, tables)
            elif name in rows:
                columns[name] = rows[name]
        return pd.DataFrame(columns, index=rows.index)

    def parts(self, rows: pd.DataFrame, column: str) -> list[tuple[Aggregate, pd.DataFrame]]:
        """The aggregates behind a column of some rows. Behind a key: those that it chooses the rows of, or all."""
        number = self.columns[column]
        if not isinstance(number, Key):
            return list(number.parts(rows))
        every = [part for other in self.columns.values() for part in other.parts(rows)]
        chosen = [part for part in every if column in part[0].rows.by and not part[0].rows.optional] or every
        return list({part[0].rows: part for part in reversed(chosen)}.values())[::-1]
