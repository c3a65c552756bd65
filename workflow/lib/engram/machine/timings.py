"""How long the jobs of a run took, from the benchmark files that Snakemake writes beside the logs; no artifact holds a
time.

The folder of the logs has <stage>/<model>.tsv, or <stage>/<model>/….tsv for a stage of several jobs. `values` are the
contents of the parameter file.
"""

import re
from pathlib import Path

import pandas as pd

from engram.drawing import published_numbers, style
from engram.job import io
from engram.settings import edits, families, items, methods
from engram.settings.stages import STAGES

COLUMNS = {"s": "seconds", "cpu_time": "cpu", "max_rss": "memory"}  # of a benchmark: seconds, seconds, MiB
NOTE = (
    "targets: of all records whose values an editor's family finds, for every n. edit: with what the edited model\n"
    "says and writes about the records."
)
SPENT = re.compile(
    r"(?:.*\n)?processor time ([\d.]+) s, memory (\d+) MiB\n", re.DOTALL
)  # engram.machine.preload prints it last
THEIRS = " The published times are of editing alone, on one NVIDIA RTX A6000."
PUBLISHED = {"paper": "memit", "table": "text"}


def read(folder: Path, model: str) -> pd.DataFrame:
    """One row per job of a model: stage, job (the path below its model's folder), seconds, cpu, memory; of a job that
    was repeated, the last. FileNotFoundError if there is none.
    """
    files = {path: path.relative_to(folder).with_suffix("").parts for path in sorted(Path(folder).rglob("*.tsv"))}
    rows = [
        pd.read_csv(path, sep="\t", na_values=["-"]).iloc[-1][[*COLUMNS]].to_dict()
        | _spent(path.with_suffix(".log"))
        | {"stage": stage, "job": "/".join(job)}
        for path, (stage, owner, *job) in files.items()
        if owner == model
    ]
    if not rows:
        raise FileNotFoundError(f"{folder}: no benchmark of a job of {model}; run the workflow for this model first")
    return pd.DataFrame(rows).rename(columns=COLUMNS)[["stage", "job", *COLUMNS.values()]]


def _spent(log: Path) -> dict:
    """Processor time and memory of a job whose process was none below Snakemake's: they stand at the end of its log."""
    match = SPENT.fullmatch(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else None
    return {"cpu_time": float(match[1]), "max_rss": float(match[2])} if match else {}


def by_stage(jobs: pd.DataFrame) -> pd.DataFrame:
    """One row per stage, in the order of the data: jobs, seconds of all, the longest, processor seconds, the largest
    memory (MiB).
    """
    groups = jobs.groupby("stage")
    table = pd.DataFrame(
        {
            "jobs": groups.size(),
            "seconds": groups["seconds"].sum(),
            "longest": groups["seconds"].max(),
            "processor": groups["cpu"].sum(),
            "MiB": groups["memory"].max(),
        }
    )
    return table.loc[[stage for stage in STAGES if stage in table.index]].reset_index()


def by_edit(jobs: pd.DataFrame, values: dict, model: str, numbers: Path | str) -> pd.DataFrame:
    """One row per edit that a job has made, without those of sweeps: seconds of the stages targets, edit and evaluate;
    beside them `published`, what the paper needed for as many facts, and of that `z` for the values and `insert` for
    the rest.

    `numbers`: the published file.
    """
    seconds = jobs.set_index(["stage", "job"])["seconds"]
    known = published_numbers.of(io.read_table(numbers), **PUBLISHED, model=model)
    printed = known.set_index(["dataset", "row", "facts", "column"])["value"]
    rows = []
    wanted = [row for row in edits.wanted(items.seen(values, model)) if row["method"] in values["methods"]]
    order = style.method_order(row["method"] for row in wanted)
    for row in sorted(wanted, key=lambda row: (row["dataset"], order.index(row["method"]), row["n"].facts)):
        dataset, method, n = row.values()
        own = {"edit": f"{dataset}/{method}/n{n}", "evaluate": f"{dataset}/{method}/n{n}"}
        if method in _targeted(values):
            own["targets"] = f"{dataset}/{families.family_of(values, method, model)}"
        if ("edit", own["edit"]) in seconds.index:
            key = (dataset, method, n.facts)
            rows.append(
                row
                | {"n": str(n)}
                | {stage: seconds.get((stage, job)) for stage, job in own.items()}
                | {
                    name: printed.get((*key, column))
                    for name, column in (("published", "seconds"), ("z", "seconds, z"), ("insert", "seconds, insert"))
                }
            )
    columns = ["dataset", "method", "n", "targets", "edit", "evaluate", "published", "z", "insert"]
    return (
        pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[3:], float)).dropna(axis="columns", how="all")
    )


def _targeted(values: dict) -> set[str]:
    return {method for method in values["methods"] if "targets" in methods.needs(values, method)}


def report(folder: Path, values: dict, numbers: Path | str) -> str:
    """How long the jobs of every active model took, by stage and by edit, as tables of Markdown. `folder`: of the logs;
    `numbers`: the published file. FileNotFoundError for a model without a benchmark there.
    """
    parts = []
    for model in values["run"]["models"]:
        jobs = read(folder, model)
        edited = by_edit(jobs, values, model, numbers)
        parts += [
            f"## {model}: stages",
            _markdown(by_stage(jobs)),
            f"## {model}: edits, seconds",
            _markdown(_named(edited, model)),
            NOTE + THEIRS * ("published" in edited),
        ]
    return "\n\n".join(parts)


def _named(frame: pd.DataFrame, model: str) -> pd.DataFrame:
    frame = frame.assign(method=frame["method"].map(lambda method: style.method_label(method, model)))
    return frame.rename(columns={"z": "of it z", "insert": "of it insert"})


def _markdown(frame: pd.DataFrame) -> str:
    numbers = [name for name in frame if pd.api.types.is_numeric_dtype(frame[name])]
    lines = [
        f"| {' | '.join(frame)} |",
        "| " + " | ".join("---:" if name in numbers else "---" for name in frame) + " |",
    ]
    for row in frame.to_dict("records"):
        cells = [
            "–" if pd.isna(value) else f"{value:,.1f}" if isinstance(value, float) else str(value)
            for value in row.values()
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
