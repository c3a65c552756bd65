"""What a schema of an artifact is, and the check of a file's content against one.

A `Table` has pyarrow fields, in the order of the columns: name, type, whether a value may be missing, and in the
field's metadata what the column means, its unit, when a value is missing and which files have the column at all. A
`Document` is the same for the keys of a json object. The schemas of all artifacts are in engram.job.schemas.

A check never changes what it checks, so no schema enters a code digest: a better description of a column reruns
nothing, and a column that changes is refused where an older file is read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

TEXT, WHOLE, NUMBER, FLAG, TEXTS = pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.list_(pa.string())
BY_NAME = pa.map_(pa.string(), pa.int64())  # in documents: a number for every name
TEXT_MAP = pa.map_(pa.string(), pa.string())  # in documents: a text for every name
WORDS = {
    TEXT: "text",
    WHOLE: "a whole number",
    NUMBER: "a number",
    FLAG: "true or false",
    TEXTS: "a list of texts",
    BY_NAME: "an object of whole numbers",
    TEXT_MAP: "an object of texts",
}
DTYPES = {TEXT: "str", WHOLE: "int64", NUMBER: "float64", FLAG: "bool", TEXTS: "object"}
NO_COLUMNS = pa.schema([])
MAKE_ANEW = "; delete it and run again, which makes it anew"


def column(
    name: str,
    kind: pa.DataType,
    meaning: str,
    unit: str = "",
    null: str = "",
    only: str = "",
    other: pa.DataType | None = None,
) -> pa.Field:
    """The field of one column or key.

    `kind`: one of TEXT, WHOLE, NUMBER, FLAG, TEXTS, BY_NAME, TEXT_MAP. `null`: when a value is missing; without
    it none may be. `only`: which files have the column; without it all have. `other`: a second type that a file may
    have it in.
    """
    about = {"meaning": meaning, "unit": unit, "null": null, "only": only, "other": WORDS[other] if other else ""}
    return pa.field(name, kind, nullable=bool(null), metadata={key: value for key, value in about.items() if value})


def about(field: pa.Field, key: str) -> str:
    """What the metadata of a field say under `key` (meaning, unit, null, only, other); empty if nothing."""
    return (field.metadata or {}).get(key.encode(), b"").decode()


@dataclass(frozen=True)
class Table:
    """The schema of a table: what one row is, its columns, and which of them name a row, no two rows alike."""

    name: str
    row: str
    key: tuple[str, ...] = ()
    may_be_empty: str = ""  # when it has no rows; without it, it has some
    schema: pa.Schema = NO_COLUMNS

    def with_columns(self, *fields: pa.Field) -> "Table":
        """The same table with these columns."""
        return replace(self, schema=pa.schema(fields))

    def frame(self, rows: list[dict]) -> pd.DataFrame:
        """Rows {column: value} as a table in the schema's columns. ValueError names the row, the column and what would
        be right.
        """
        names = self.schema.names
        if not rows:
            frame = pd.DataFrame(columns=names).astype({field.name: DTYPES[field.type] for field in self.schema})
        else:
            frame = pd.DataFrame(rows)
            frame = frame[names] if set(frame.columns) == set(names) else frame
        self.check(self.arrow(frame, f"table {self.name}"), f"table {self.name}")
        return frame

    def arrow(self, frame: pd.DataFrame, place: str) -> pa.Table:
        """The frame as arrow writes it, without pandas' metadata. ValueError names `place`, the row and the column of a
        value that does not fit its column.
        """
        try:
            return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        except pa.ArrowException as error:
            for field in (self.schema.field(name) for name in frame if name in self.schema.names):
                for row, value in enumerate(frame[field.name]):
                    if not _holds(value, field.type) and not (value is None or value is pd.NA or value != value):
                        where = f"{place}: {self._named(frame, row)}, column {field.name!r}"
                        raise ValueError(f"{where}: found {value!r}; {_right(field)}") from error
            raise ValueError(f"{place}: {error}") from error

    def check(self, table: pa.Table, place: str, remedy: str = "", csv: bool = False) -> None:
        """ValueError unless `table` has the columns of this schema, in their order and types, no value missing that may
        not be, and no key twice. It names `place`, column, row and what would be right, and ends with `remedy`.

        `csv`: types were read from text, so that a column without values has none.
        """
        self._check_columns(table, place, remedy)
        if not table.num_rows and not (self.may_be_empty or csv):
            raise ValueError(f"{place}: no rows; right is {self.row} a row{remedy}")
        for field in (self.schema.field(name) for name in table.column_names):
            values = table[field.name]
            if values.null_count and not field.nullable:
                row = pc.index(pc.is_null(values), True).as_py()
                raise ValueError(
                    f"{place}: {self._named(table, row)}, column {field.name!r}: no value; {_right(field)}{remedy}"
                )
            if not _fits(values.type, field, csv):
                found = next((repr(value) for value in values.to_pylist() if value is not None), "no value")
                raise ValueError(
                    f"{place}: column {field.name!r} is of type {values.type} ({self._named(table, 0)}: {found}); "
                    f"{_right(field)}{remedy}"
                )
        self._check_key(table, place, remedy)

    def _check_columns(self, table: pa.Table, place: str, remedy: str) -> None:
        found, names = table.column_names, self.schema.names
        for field in self.schema:
            if field.name not in found and not about(field, "only"):
                raise ValueError(f"{place}: no column {field.name!r}, it has {found}{remedy}")
        for name in found:
            if name not in names:
                raise ValueError(f"{place}: column {name!r} is none of table {self.name}; right are {names}{remedy}")
        right = [name for name in names if name in found]
        if found != right:
            raise ValueError(f"{place}: the columns are {found}; right is this order: {right}{remedy}")

    def _check_key(self, table: pa.Table, place: str, remedy: str) -> None:
        key = [name for name in self.key if name in table.column_names]
        if not (key and table.num_rows):
            return
        counts = table.group_by(key).aggregate([([], "count_all")])
        if counts.num_rows < table.num_rows:
            twice = counts.filter(pc.greater(counts["count_all"], 1)).slice(0, 1).select(key).to_pylist()[0]
            words = ", ".join(f"{name} {value}" for name, value in twice.items())
            raise ValueError(f"{place}: {words} in more than one row; right is one row for each{remedy}")

    def _named(self, table: pa.Table | pd.DataFrame, row: int) -> str:
        """A row by its number and the columns that identify it."""
        names = list(table) if isinstance(table, pd.DataFrame) else table.column_names
        key = [name for name in self.key if name in names]
        if isinstance(table, pd.DataFrame):
            values = [table[name].iloc[row] for name in key]
        else:
            values = [table[name][row].as_py() for name in key] if table.num_rows else []
        words = ", ".join(f"{name} {value}" for name, value in zip(key, values))
        return f"row {row} ({words})" if words else f"row {row}"


@dataclass(frozen=True)
class Document:
    """The schema of a json object: what it says and its keys."""

    name: str
    row: str
    schema: pa.Schema = NO_COLUMNS

    def with_keys(self, *fields: pa.Field) -> "Document":
        """The same document with these keys."""
        return replace(self, schema=pa.schema(fields))

    def check(self, value: object, place: str, remedy: str = "") -> None:
        """ValueError, with `place`, the key and what would be right, unless `value` is an object with these keys."""
        if not isinstance(value, Mapping):
            raise ValueError(f"{place}: found {type(value).__name__}; right is an object {self.schema.names}{remedy}")
        for field in self.schema:
            if field.name not in value:
                if about(field, "only"):
                    continue
                raise ValueError(f"{place}: no key {field.name!r}, it has {sorted(value)}{remedy}")
            found = value[field.name]
            if not (_holds(found, field.type) or (found is None and field.nullable)):
                raise ValueError(f"{place}: key {field.name!r}: found {found!r}; {_right(field)}{remedy}")
        if unknown := sorted(set(value) - set(self.schema.names)):
            raise ValueError(
                f"{place}: key {unknown[0]!r} is none of {self.name}; right are {self.schema.names}{remedy}"
            )


def _right(field: pa.Field) -> str:
    other = f" or {about(field, 'other')}" if about(field, "other") else ""
    return f"right is {WORDS[field.type]}{other}: {about(field, 'meaning')}"


def _fits(found: pa.DataType, field: pa.Field, csv: bool) -> bool:
    """Whether a column of type `found` is one of `field`: arrow has two types of text, and text files have none."""
    plain = {pa.large_string(): TEXT, pa.large_list(pa.string()): TEXTS, pa.list_(pa.large_string()): TEXTS}
    kind = plain.get(found, found)
    if csv and (pa.types.is_null(kind) or (kind == WHOLE and field.type == NUMBER)):
        return True
    return kind == field.type or WORDS.get(kind) == about(field, "other")


def _holds(value: object, kind: pa.DataType) -> bool:
    """Whether a value of Python or numpy is one of type `kind`."""
    if kind == TEXTS:
        return isinstance(value, Iterable) and not isinstance(value, str) and all(isinstance(v, str) for v in value)
    if kind in (BY_NAME, TEXT_MAP):
        each = WHOLE if kind == BY_NAME else TEXT
        return isinstance(value, Mapping) and all(isinstance(k, str) and _holds(v, each) for k, v in value.items())
    if kind == NUMBER:
        return pd.api.types.is_number(value) and not isinstance(value, bool)
    if kind == TEXT:
        return isinstance(value, str)
    return pd.api.types.is_integer(value) if kind == WHOLE else pd.api.types.is_bool(value)
