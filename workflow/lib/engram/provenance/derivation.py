"""Which rows of a raw table stand behind a row of a figure's csv, and whether the number follows from them. No torch.

The rule: columns of the csv that the table has too, by name, select its rows. Where a csv says it in other words, one
of these does: a category of token (as in engram.evaluation.indirect_effects), names of relations joined by ` + `, a
point of a sweep (its method), a metric (the kind of prompt it is of, as in engram.evaluation.metrics, or the column), a
value of a column of words inside a longer text (`effect of hidden`). Columns of floating numbers select nothing: they
are measured. What no rule narrows is said to be all rows.
"""

import math
from typing import NamedTuple

import pandas as pd

from engram.evaluation import indirect_effects, metrics

MEASURED = ("value", "ci", "count", "std", "index")  # of a csv: not keys, though they may be whole numbers
IDS = ("case_id", "prompt_id")  # what rows of two inputs of one job belong together by
TOKENS = ("subject_begin", "subject_end", "tokens")  # of a table of prompts: where the categories of tokens come from


class Chosen(NamedTuple):
    """Rows of one table, how they were chosen (`layer = 3`), and the columns that the csv's row names, if it does."""

    rows: pd.DataFrame
    total: int
    filters: list[str]
    columns: list[str]


def keys_of(row: dict, column: str, measured: set[str]) -> dict[str, str]:
    """What a row of a csv (as text) says about itself: all but the number, other measured columns and what is empty."""
    return {name: text for name, text in row.items() if text != "" and name not in {column, *MEASURED, *measured}}


def measured(table: pd.DataFrame) -> set[str]:
    """Columns of a table, or of a csv read as text, that hold floating numbers."""
    return {name for name in table if pd.api.types.is_float_dtype(table[name]) or _floats(table[name])}


def _floats(values: pd.Series) -> bool:
    """Whether texts are numbers, one of them not whole."""
    if not pd.api.types.is_string_dtype(values):
        return False
    numbers = pd.to_numeric(values[values != ""], errors="coerce")
    return len(numbers) > 0 and numbers.notna().all() and bool((numbers % 1 != 0).any())


def choose(keys: dict[str, str], table: pd.DataFrame, points: dict, prompts: pd.DataFrame | None) -> Chosen | None:
    """The rows of a table that `keys` name; None if it has none of them. `points`: method -> hyperparameters of a
    sweep; `prompts`: the table of prompts beside it.
    """
    rows, filters, columns, free = table, [], [], measured(table)
    for name, text in _translated(keys, table, points, prompts):
        if name in rows and name not in free:
            wanted = text if isinstance(text, list) else [text]
            rows = rows[rows[name].astype(str).isin(wanted)]
            filters.append(f"{name} = {' or '.join(wanted)}" if len(wanted) < 6 else f"{name}: one of {len(wanted)}")
        elif name == "category" and prompts is not None and {"prompt_id", "token"} <= set(rows):
            rows = rows.merge(_tokens(prompts, text), on=["prompt_id", "token"])
            filters.append(f"token: {text.lower()}")
        elif text in rows:
            columns.append(text)
    return Chosen(rows, len(table), filters, columns) if len(rows) else None


def _translated(keys: dict, table: pd.DataFrame, points: dict, prompts):
    """(column, value or list of values), in the table's words."""
    over = {name for point in points.values() for name in point}
    swept = {name: text for name, text in keys.items() if name in over and "method" not in keys}
    if swept and "method" in table:
        yield (
            "method",
            [
                method
                for method, point in points.items()
                if all(str(point.get(name)) == text for name, text in swept.items())
            ],
        )
    for name, text in keys.items():
        if name == "relations" and "relation_id" in table:
            yield "relation_id", text.split(" + ")
        elif name in swept and "method" in table:
            continue
        elif name == "metric" and "kind" in table:
            yield "kind", [kind for kind, names in metrics.KINDS.items() if text in names] or list(metrics.KINDS)
        elif name in table or name == "category" or text in table:
            yield name, text
        else:
            yield from _said(text, table, prompts)


def _said(text: str, table: pd.DataFrame, prompts):
    """A value of a column of words that a text is, or ends in after a space."""
    for name in table if any(map(str.isalpha, text)) else ():  # a number says nothing about words
        if pd.api.types.is_string_dtype(table[name]) and len(known := set(table[name].unique())) < 100:
            found = [value for value in known if text == value or text.endswith(f" {value}")]
            if found:
                yield name, max(found, key=len)
    if prompts is not None and "token" in table:
        yield from (("category", name) for name in indirect_effects.CATEGORIES if text.endswith(f" {name}"))


def _tokens(prompts: pd.DataFrame, category: str) -> pd.DataFrame:
    """prompt_id and token of every token of a category."""
    found = [
        (row.prompt_id, token)
        for row in prompts.itertuples()
        for token in indirect_effects.positions(row.subject_begin, row.subject_end, len(row.tokens)).get(category, ())
    ]
    return pd.DataFrame(found, columns=["prompt_id", "token"])


def related(table: pd.DataFrame, others: list[Chosen]) -> Chosen | None:
    """The rows of a table that belong to the same records or prompts as rows that were chosen; None if it has none."""
    for name in IDS:
        ids = [set(other.rows[name]) for other in others if other.filters and name in other.rows]
        if ids and name in table:
            rows = table[table[name].isin(set.union(*ids))]
            return Chosen(rows, len(table), [f"{name}: of the rows chosen beside it"], []) if len(rows) else None
    return Chosen(table, len(table), [], [])


def alike(chosen: Chosen | None, row: dict[str, str]) -> Chosen | None:
    """Of several chosen rows of a table with the csv's own measured columns, the one that has all its numbers."""
    shared = [name for name in MEASURED if row.get(name) and chosen and name in chosen.rows]
    if not shared or len(chosen.rows) == 1:
        return chosen
    fits = chosen.rows[
        [
            all(_is_number(str(cells[name])) and near(float(row[name]), float(cells[name])) for name in shared)
            for cells in chosen.rows.to_dict("records")
        ]
    ]
    return (
        chosen._replace(rows=fits, filters=[*chosen.filters, f"the same {', '.join(shared)}"])
        if len(fits) == 1
        else chosen
    )


def ids(chosen: Chosen) -> dict[str, set]:
    """Which records or prompts the chosen rows are of, if they are some of a table."""
    return {name: set(chosen.rows[name]) for name in IDS if name in chosen.rows and len(chosen.rows) < chosen.total}


def of_ids(chosen: Chosen | None, known: dict[str, set]) -> Chosen | None:
    """Of the chosen rows, those of these records or prompts; None if there is none."""
    for name in [name for name in known if chosen and name in chosen.rows and name not in chosen.filters]:
        rows = chosen.rows[chosen.rows[name].isin(known[name])]
        if len(rows) < len(chosen.rows):
            chosen = (
                chosen._replace(rows=rows, filters=[*chosen.filters, f"{name}: of the rows above"])
                if len(rows)
                else None
            )
    return chosen


def follows(number: str, chosen: Chosen, others: list[Chosen], column: str) -> str | None:
    """How a number follows from the chosen rows: the cell itself, their number, or an aggregate of a column (of the one
    that the csv's row names or that has the number's name, if there is one); None if in none of these ways.
    """
    if not _is_number(number):
        return _cell(number, chosen, column)
    wanted = float(number)
    named = [name for name in [*chosen.columns, column] if name in chosen.rows]
    for name in named or [name for name in chosen.rows if pd.api.types.is_float_dtype(chosen.rows[name])]:
        values = pd.to_numeric(chosen.rows[name], errors="coerce").dropna()
        for text, value in _aggregates(values) if len(values) else ():
            if near(wanted, value):
                return f"{text} of column {name}" if text else f"column {name} of this row"
    if near(wanted, len(chosen.rows)):
        return "the number of these rows"
    return _harmonic(wanted, chosen) or _difference(wanted, chosen, others)


def near(a: float, b: float) -> bool:
    """Equal to the six digits of a csv."""
    return math.isclose(a, b, rel_tol=6e-6, abs_tol=1e-12)


def _cell(text: str, chosen: Chosen, column: str) -> str | None:
    if len(chosen.rows) != 1:
        return None
    for name in [*chosen.columns, column, *chosen.rows]:
        if name in chosen.rows:
            cell = chosen.rows[name].iloc[0]
            if text in (cell if isinstance(cell, list) else [str(cell)]):
                return f"column {name} of this row"
    return None


def _aggregates(values: pd.Series):
    if len(values) == 1:
        yield "", values.iloc[0]
        yield "100 x that", 100 * values.iloc[0]
    quantiles = {f"quantile {q}": values.quantile(q) for q in (0.25, 0.75)}
    width = 1.96 * values.std(ddof=0) / math.sqrt(len(values))
    for name, value in {
        "mean": values.mean(),
        "median": values.median(),
        "largest": values.max(),
        "smallest": values.min(),
        "standard deviation": values.std(ddof=0),
        "half width of the 95% interval": width,
        **quantiles,
    }.items():
        yield name, value
        yield f"100 x the {name}", 100 * value
    yield "number", len(values)


def _harmonic(wanted: float, chosen: Chosen) -> str | None:
    """S, the harmonic mean of the means of the scored metrics, or its interval."""
    for scored, _ in metrics.METRICS.values():
        if set(scored) <= set(chosen.rows):
            score, width = metrics.harmonic_ci(chosen.rows[list(scored)])
            of = f"the harmonic mean of the means of columns {', '.join(scored)}"
            if near(wanted, 100 * score):
                return f"100 x {of}"
            if near(wanted, 100 * width):
                return f"100 x the half width of the 95% interval of {of}"
    return None


def _difference(wanted: float, chosen: Chosen, others: list[Chosen]) -> str | None:
    """The mean of a column here less that of a column of the rows beside it: effects are such differences."""

    def means(one: Chosen) -> dict:
        return {name: one.rows[name].mean() for name in one.rows if pd.api.types.is_float_dtype(one.rows[name])}

    here = means(chosen)
    for name, mean in here.items():
        for other, less in [pair for one in [chosen, *others] for pair in means(one).items()]:
            if other != name and near(wanted, mean - less):
                return f"mean of column {name} less mean of column {other}"
    return None


def one_of(number: str, chosen: Chosen, column: str) -> str | None:
    """The same where the number is that of one of these rows: a csv may have a row for each that lies apart."""
    for name in [name for name in [*chosen.columns, column] if name in chosen.rows and _is_number(number)]:
        for factor, text in ((1, ""), (100, "100 x ")):
            values = pd.to_numeric(chosen.rows[name], errors="coerce")
            fits = chosen.rows[[near(float(number), factor * value) for value in values]]
            if len(fits) == 1:
                which = ", ".join(f"{key} {fits[key].iloc[0]}" for key in IDS if key in fits)
                return f"{text}column {name} of one of these rows{f' ({which})' if which else ''}"
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def narrowed(number: str, keys: dict, table: pd.DataFrame, points: dict, prompts, others: list[Chosen], column: str):
    """The chosen rows and how the number follows, where no column of the csv says which and one value of one column (or
    one category of token) makes it follow; None where several do or none.
    """
    chosen, found = choose(keys, table, points, prompts), []
    free = [name for name in chosen.rows if name not in {*keys, *MEASURED, *IDS, *measured(table)}] if chosen else []
    tries = [
        ("category", name) for name in indirect_effects.CATEGORIES if prompts is not None and "category" not in keys
    ]
    tries += [
        (name, str(value))
        for name in free
        if 1 < len(values := chosen.rows[name].astype(str).unique()) <= 30
        for value in values
    ]
    for name, value in tries:
        one = choose(keys | {name: value}, table, points, prompts)
        way = follows(number, one, others, column) if one and len(one.filters) > len(chosen.filters) else None
        if way and not way.startswith("the number"):
            found.append((one, f"{way}; which {name}, only the number says"))
    same = {frozenset(map(tuple, one.rows.astype(str).to_numpy())) for one, _ in found}
    return found[0] if len(same) == 1 else None
