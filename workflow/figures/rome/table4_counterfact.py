"""CounterFact results of each editing method, with 95% confidence intervals in parentheses.

S: harmonic mean of ES, PS, NS. ES, EM: efficacy score and magnitude; PS, PM: paraphrases; NS, NM: neighbourhood;
GE: fluency (n-gram entropy); RS: consistency with reference texts. All x 100. PAPER: ROME Table 4.
"""

import pandas as pd

from engram import cli, style

METRICS = ("S", "ES", "EM", "PS", "PM", "NS", "NM", "GE", "RS")
COLUMNS = ["model", "dataset", "method", "n", "metric", "value", "ci", "count"]


def table(summaries: list[pd.DataFrame]) -> pd.DataFrame:
    """The summaries as one long frame in table order. ValueError names what is missing or doubled."""
    frame = pd.concat(summaries, ignore_index=True)
    doubled = frame[frame.duplicated(["method", "metric"])]
    if len(doubled):
        raise ValueError(f"summaries: {doubled[COLUMNS[:5]].values.tolist()} occur twice; right is one per method")
    keyed, parts = frame.set_index(["method", "metric"]), []
    for method in style.method_order(frame["method"]):
        missing = [metric for metric in METRICS if (method, metric) not in keyed.index]
        if missing:
            raise ValueError(f"summaries, method {method}: metrics {missing} are missing; expected {list(METRICS)}")
        parts.append(keyed.loc[[(method, metric) for metric in METRICS]])
    return pd.concat(parts).reset_index()[COLUMNS]


def draw(frame: pd.DataFrame, model: str) -> str:
    """`table`'s frame as a Markdown table."""
    lines = [f"| Editor | {' | '.join(METRICS)} |", "| --- |" + " ---: |" * len(METRICS)]
    for method, rows in frame.groupby("method", sort=False):
        cells = " | ".join(_cell(value, ci) for value, ci in zip(rows["value"], rows["ci"]))
        lines.append(f"| {style.method_label(method, model)} | {cells} |")
    counts = {method: int(rows["count"].max()) for method, rows in frame.groupby("method", sort=False)}
    if len(set(counts.values())) == 1:
        records = f"{next(iter(counts.values())):,}"
    else:
        records = ", ".join(f"{style.method_label(method, model)} {count:,}" for method, count in counts.items())
    return "\n".join(lines) + f"\n\nRecords: {records}. In parentheses: 95% confidence interval, as ±.\n"


def _cell(value: float, ci: float) -> str:
    if pd.isna(value):
        return "–"
    return f"{value:.1f}" if pd.isna(ci) else f"{value:.1f} ({ci:.1f})"


def main(argv=None):
    job = cli.parse(__file__, __doc__, argv, inputs=["summaries*"], outputs=["csv", "md"], keys=["model"])
    frame = table([pd.read_csv(path, keep_default_na=False, na_values=[""]) for path in job.inputs.summaries])
    job.write("csv", frame)
    job.write("md", draw(frame, job.keys.model))


if __name__ == "__main__":
    main()
