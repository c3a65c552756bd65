"""Tables that compare editing methods: summaries of stage `evaluate` as one long frame, and as Markdown. No torch."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from engram.drawing import published_numbers, style
from engram.evaluation.derivation import KEY, Derivation, Job, Number, Rows, Tables

TEXTS = ("GE", "RS")  # metrics of generated texts
RESULT = Rows("summaries", by=("method", "metric"), optional=True)
COLUMNS: dict[str, Number] = {
    "model": KEY,
    "dataset": KEY,
    "method": KEY,
    "n": KEY,
    "metric": KEY,
    "value": RESULT.cell("value"),
    "ci": RESULT.cell("ci"),
    "count": RESULT.cell("count"),
    **published_numbers.columns(RESULT.by, RESULT.cell("value"), RESULT.cell("ci")),
}


def derivation(metrics: Iterable[str], at_the_end: bool = False) -> Derivation:
    """A table of editors: a row for each editor in the papers' order and each metric in the given one, from the tables
    `summaries`; beside them what the paper has for the model, if the job reads `published`. Editors that the paper has
    alone are rows without `value`.

    `at_the_end`: of facts that are edited one after the other and read along the way, the reading at the end.
    ValueError names what is missing or doubled.
    """

    def prepare(tables: Tables, job: Job) -> dict[str, Any]:
        own = tables["summaries"]
        if at_the_end:
            own = own[own["after"] == own.groupby(["method", "n"])["after"].transform("max")]
        _check(own, tuple(metrics))
        own = own[own["metric"].isin(list(metrics))]
        paper = None
        if "published" in tables:
            paper = published_numbers.of_editors(tables["published"], own, job.script.parent.name)
        return {"summaries": own, "published": paper}

    return Derivation(COLUMNS, lambda tables, job: _rows(tables, list(metrics)), prepare)


def _rows(tables: Tables, metrics: list[str]) -> pd.DataFrame:
    """Methods in the papers' order, metrics in the given one; an editor of the paper alone has no n."""
    keys = ["model", "dataset", "method", "n", "metric"]
    rows = tables["summaries"][keys]
    if "published" in tables:
        paper = tables["published"][[key for key in keys if key != "n"]].assign(n="")
        rows = pd.concat([rows.astype({"n": object}), paper]).drop_duplicates(["method", "metric"])
    ranks = {"method": style.method_order(rows["method"]).index, "metric": metrics.index}
    return rows.sort_values(["method", "metric"], key=lambda names: names.map(ranks[names.name]))


def _check(own: pd.DataFrame, metrics: tuple[str, ...]) -> None:
    doubled = own[own.duplicated(["method", "metric"])]
    if len(doubled):
        first = doubled[["model", "dataset", "method", "n", "metric"]].values.tolist()
        raise ValueError(f"summaries: {first} occur twice; right is one per method")
    for method, rows in own.groupby("method", sort=False):
        missing = [metric for metric in metrics if metric not in set(rows["metric"])]
        if missing:
            raise ValueError(f"summaries, method {method}: metrics {missing} are missing; expected {list(metrics)}")


def markdown(frame: pd.DataFrame, heads: dict[str, str]) -> str:
    """The numbers of `derivation` as Markdown: a row per method, a column per metric under its head, the interval in
    parentheses. With published numbers, those and the difference are the rows below it.
    """
    model = frame["model"].iloc[0]
    lines = [f"| Editor | {' | '.join(heads.values())} |", "| --- |" + " ---: |" * len(heads)]
    for method, rows in frame.groupby("method", sort=False):
        name, rows = style.method_label(method, model), rows.set_index("metric").loc[list(heads)]
        if rows["value"].notna().any():
            lines.append(_row(name, map(_cell, rows["value"], rows["ci"])))
        if "published" in frame and rows["published"].notna().any():
            lines += _compared(rows, name)
    own = frame[frame["value"].notna()]
    counts = {method: int(rows["count"].max()) for method, rows in own.groupby("method", sort=False)}
    if len(set(counts.values())) == 1:
        records = f"{next(iter(counts.values())):,}"
    else:
        records = ", ".join(f"{style.method_label(method, model)} {count:,}" for method, count in counts.items())
    return "\n".join(lines) + (
        f"\n\nRecords: {records}. {_written(own, counts, model)}In parentheses: 95% confidence "
        f"interval, as ±.\n{_sources(frame, model)}"
    )


def _row(name: str, cells: Iterable[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


def _compared(rows: pd.DataFrame, name: str) -> list[str]:
    """The published row, and the differences from it if there is a row to compare."""
    marks = rows["reproducible"].map(lambda word: " †" if word == "no" else "")
    cells = [_cell(value, ci) + mark for value, ci, mark in zip(rows["published"], rows["published_ci"], marks)]
    if rows["value"].isna().all():
        return [_row(f"{name}, published alone", cells)]
    changes = [
        "–" if pd.isna(value) else f"**{value:+.1f}**" if overlap == "no" else f"{value:+.1f}"
        for value, overlap in zip(rows["difference"], rows["overlap"])
    ]
    return [_row("– published", cells), _row("– difference", changes)]


def _sources(frame: pd.DataFrame, model: str) -> str:
    """Where published numbers are from, what their marks mean, and the notes on them."""
    if "published" not in frame:
        return ""
    given = frame[frame["published"].notna()]
    counts = given.groupby("source", sort=False)["published_records"].max()
    lines = [
        f"Published: {source}{'' if pd.isna(count) else f', {int(count):,} records'}."
        for source, count in counts.items()
    ]
    if (given["overlap"] == "no").any():
        lines.append("Differences in bold: the two intervals do not overlap.")
    for (note, mark), rows in frame[frame["note"].fillna("") != ""].groupby(["note", "reproducible"], sort=False):
        names = ", ".join(style.method_label(method, model) for method in rows["method"].unique())
        names = "All" if set(rows["method"]) == set(given["method"]) else names
        every = set(rows["metric"]) == set(frame["metric"])
        where = names if every else f"{names}: {', '.join(rows['metric'].unique())}"
        lines.append(f"† {where}: cannot be reproduced, {note}." if mark == "no" else f"{where}: {note}.")
    return f"\n{' '.join(lines)}\n"


def _written(frame: pd.DataFrame, counts: dict[str, int], model: str) -> str:
    """Whose GE and RS are those of fewer records, and of how many."""
    texts = frame[frame["metric"].isin(TEXTS)].groupby("method", sort=False)["count"].max()
    fewer = [
        f"{style.method_label(method, model)} {count:,}" for method, count in texts.items() if count < counts[method]
    ]
    return f"GE and RS: {', '.join(fewer)}. " if fewer else ""


def _cell(value: float, ci: float) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:.1f}" if pd.isna(ci) else f"{value:.1f} ({ci:.1f})"
