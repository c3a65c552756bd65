"""Tables that compare editing methods: summaries of stage `evaluate` as one long frame, and as Markdown. No torch."""

import pandas as pd

from engram.drawing import published_numbers, style

TEXTS = ("GE", "RS")  # metrics of generated texts
COLUMNS = ["model", "dataset", "method", "n", "metric", "value", "ci", "count"]


def read(paths: list) -> list[pd.DataFrame]:
    """The files summary.csv at `paths`; a method may be called none or na, which pandas would take for nothing."""
    return [pd.read_csv(path, keep_default_na=False, na_values=[""]) for path in paths]


def write(job, table, draw) -> None:
    """The two files of a table of the summaries: `table(summaries)`, beside it what the paper has for this model if the
    job reads `published`, and `draw` of both, as Markdown.
    """
    frame = table(read(job.inputs.summaries))
    if job.inputs.published:
        frame = _ordered(
            published_numbers.beside(frame, job.inputs.published, job.script.parent.name),
            list(frame["metric"].unique()),
        )
    job.write("csv", frame)
    job.write("md", draw(frame, job.keys.model))


def last(summaries: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Of facts that are edited one after the other and read along the way, the reading at the end."""
    return [frame[frame["after"] == frame["after"].max()] for frame in summaries]


def _ordered(frame: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Methods in the papers' order, metrics in the given one."""
    ranks = {"method": style.method_order(frame["method"]).index, "metric": metrics.index}
    return frame.sort_values(["method", "metric"], key=lambda names: names.map(ranks[names.name]), ignore_index=True)


def table(summaries: list[pd.DataFrame], metrics: tuple[str, ...]) -> pd.DataFrame:
    """The rows of `metrics` in table order, methods in the papers'. ValueError names what is missing or doubled."""
    frame = pd.concat(summaries, ignore_index=True)
    doubled = frame[frame.duplicated(["method", "metric"])]
    if len(doubled):
        raise ValueError(f"summaries: {doubled[COLUMNS[:5]].values.tolist()} occur twice; right is one per method")
    keyed, parts = frame.set_index(["method", "metric"]), []
    for method in style.method_order(frame["method"]):
        missing = [metric for metric in metrics if (method, metric) not in keyed.index]
        if missing:
            raise ValueError(f"summaries, method {method}: metrics {missing} are missing; expected {list(metrics)}")
        parts.append(keyed.loc[[(method, metric) for metric in metrics]])
    return pd.concat(parts).reset_index()[COLUMNS]


def markdown(frame: pd.DataFrame, model: str, heads: dict[str, str]) -> str:
    """`table`'s frame as Markdown: a row per method, a column per metric under its head, the interval in parentheses.
    With published numbers, those and the difference are the rows below it.
    """
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


def _row(name: str, cells) -> str:
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
