"""Tables that compare editing methods: summaries of stage `evaluate` as one long frame, and as Markdown. No torch."""

import pandas as pd

from engram import style

TEXTS = ("GE", "RS")  # metrics of generated texts
COLUMNS = ["model", "dataset", "method", "n", "metric", "value", "ci", "count"]


def read(paths: list) -> list[pd.DataFrame]:
    """The files summary.csv at `paths`; a method may be called none or na, which pandas would take for nothing."""
    return [pd.read_csv(path, keep_default_na=False, na_values=[""]) for path in paths]


def write(job, table, draw) -> None:
    """The two files of a table of the summaries: `table(summaries)`, and `draw` of it, as Markdown."""
    frame = table(read(job.inputs.summaries))
    job.write("csv", frame)
    job.write("md", draw(frame, job.keys.model))


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
    """`table`'s frame as Markdown: a row per method, a column per metric under its head, the interval in parentheses."""
    lines = [f"| Editor | {' | '.join(heads.values())} |", "| --- |" + " ---: |" * len(heads)]
    for method, rows in frame.groupby("method", sort=False):
        cells = " | ".join(_cell(value, ci) for value, ci in zip(rows["value"], rows["ci"]))
        lines.append(f"| {style.method_label(method, model)} | {cells} |")
    counts = {method: int(rows["count"].max()) for method, rows in frame.groupby("method", sort=False)}
    if len(set(counts.values())) == 1:
        records = f"{next(iter(counts.values())):,}"
    else:
        records = ", ".join(f"{style.method_label(method, model)} {count:,}" for method, count in counts.items())
    return "\n".join(lines) + (f"\n\nRecords: {records}. {_written(frame, counts, model)}In parentheses: 95% confidence "
                               "interval, as ±.\n")


def _written(frame: pd.DataFrame, counts: dict[str, int], model: str) -> str:
    """Whose GE and RS are those of fewer records, and of how many."""
    texts = frame[frame["metric"].isin(TEXTS)].groupby("method", sort=False)["count"].max()
    fewer = [f"{style.method_label(method, model)} {count:,}" for method, count in texts.items() if count < counts[method]]
    return f"GE and RS: {', '.join(fewer)}. " if fewer else ""


def _cell(value: float, ci: float) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:.1f}" if pd.isna(ci) else f"{value:.1f} ({ci:.1f})"
