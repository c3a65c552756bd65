"""Csv files of items as tables that a page can sort: heads, and rows of cells with a text and a value to sort by."""

import io
from typing import Any, NamedTuple

import pandas as pd

from engram.drawing import style


class Cell(NamedTuple):
    """`value`: number to sort by, None for a text; `more`: smaller words below, as what the paper has; `apart`: whether
    the intervals of the two do not overlap.
    """

    text: str
    value: float | None = None
    more: tuple[str, ...] = ()
    apart: bool = False


class Table(NamedTuple):
    """Heads, which columns are numbers, rows of cells."""

    heads: list[str]
    numeric: list[bool]
    rows: list[list[Cell]]


def read(content: bytes) -> pd.DataFrame:
    """A csv file of an item; only what is empty is nothing, for a method may be called none and a metric NA."""
    return pd.read_csv(io.BytesIO(content), keep_default_na=False, na_values=[""], dtype={"n": str})


def wide(content: bytes, model: str) -> Table:
    """A table of the papers from its csv: editors by metrics, or rows by columns; another csv as it is."""
    frame = read(content)
    if {"method", "metric", "value"} <= set(frame):
        return _editors(frame, model)
    if {"row", "column", "value"} <= set(frame):
        return _pivot(frame, ["row"], "column", ["What"])
    return plain(frame)


def plain(frame: pd.DataFrame, decimals: int | None = None) -> Table:
    """A frame as it is; columns of numbers that are not whole with so many decimals."""
    numeric = [pd.api.types.is_numeric_dtype(frame[name]) for name in frame]
    fixed = [None if pd.api.types.is_integer_dtype(frame[name]) else decimals for name in frame]
    rows = [[_cell(value, places) for value, places in zip(row, fixed)] for row in frame.itertuples(index=False)]
    return Table([str(name) for name in frame], numeric, rows)


def _editors(frame: pd.DataFrame, model: str) -> Table:
    frame = frame.assign(
        method=[style.method_label(method, model) for method in frame["method"]], n=frame["n"].fillna("")
    )
    alone = len(set(frame["n"]) - {""}) <= 1
    return _pivot(frame, ["method"] if alone else ["method", "n"], "metric", ["Editor", "Facts"])


def _pivot(frame: pd.DataFrame, index: list[str], columns: str, heads: list[str]) -> Table:
    """One row per `index`, one number per value of `columns`, both in the order of the file."""
    names = list(frame[columns].unique())
    rows = []
    for key, part in frame.groupby(index, sort=False):
        by_name = {row[columns]: _number(row) for row in part.to_dict("records")}
        rows.append([Cell(str(word)) for word in key] + [by_name.get(name, Cell("–")) for name in names])
    return Table([*heads[: len(index)], *map(str, names)], [False] * len(index) + [True] * len(names), rows)


def _number(row: dict) -> Cell:
    """A number with its interval, and the published one with the difference if the row has one."""
    more: tuple[str, ...] = ()
    if pd.notna(row.get("published")):
        mark = " †" if row.get("reproducible") == "no" else ""
        more = (f"{_figures(row['published'], row.get('published_ci'))}{mark}",)
        more += (f"{row['difference']:+.1f}",) if pd.notna(row.get("difference")) else ()
    if pd.isna(row["value"]):
        return Cell("–", None, more)
    return Cell(
        _figures(row["value"], row.get("ci"), "ci" in row), float(row["value"]), more, row.get("overlap") == "no"
    )


def _figures(value: float, ci: float | None = None, scores: bool = True) -> str:
    """A score with one decimal and its half interval; another number with as many as it needs."""
    if not scores:
        return _cell(value).text
    return f"{value:.1f}" if ci is None or pd.isna(ci) else f"{value:.1f} ({ci:.1f})"


def _cell(value: Any, decimals: int | None = None) -> Cell:
    if pd.isna(value):
        return Cell("–")
    if isinstance(value, str):
        return Cell(value)
    if decimals is not None:
        return Cell(f"{value:,.{decimals}f}", float(value))
    whole = float(value).is_integer()
    return Cell(f"{value:,.0f}" if whole else f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}", float(value))
