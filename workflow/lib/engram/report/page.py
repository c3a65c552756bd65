"""The page: everything collected, filled into the templates. Nothing is written before all of it is there."""

from pathlib import Path

import jinja2
from markupsafe import Markup

from engram.job import io, schemas
from engram.provenance import audit
from engram.report import edited, entries, packed, readme, surroundings, tables, traced
from engram.report.run import Run, runs


def build(root: str | Path, values: dict) -> bytes:
    """The page of the active models. Gap names a missing file; ValueError what is wrong with one."""
    models = [_model(run) for run in runs(root, values)]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("engram.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"script": lambda value: Markup(packed.script(value)), "prose": prose}
    text = environment.get_template("page.html").render(
        models=models, machine=surroundings.machine(), seed=values["seed"]
    )
    return text.encode()


def prose(text: str) -> Markup:
    """A text in which words between backticks are code."""
    parts = (
        Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in enumerate(text.split("`"))
    )
    return Markup("").join(parts)


def _model(run: Run) -> dict:
    """All that the page says of one model."""
    shown = entries.entries(run)
    failed = [path for path in run.artifacts if run.verdicts[path].word != audit.OK]
    records = [record for record in map(run.record, run.artifacts) if record]
    return {
        "name": run.model,
        "findings": readme.findings(run.figures, run.values["paper"]),
        "tables": [item for item in shown if item["kind"] == "table"],
        "papers": _papers([item for item in shown if item["kind"] == "figure"]),
        "items": shown,
        "artifacts": len(run.artifacts),
        "failed": len(failed),
        "stale": [item for item in shown if item["stale"]],
        "traced": _traced(run),
        "edited": _edited(run),
        "settings": run.settings_text(),
        "made_with": surroundings.made_with(records),
        "made_on": surroundings.made_on(run.ledger()),
        "durations": _durations(run),
    }


def _papers(figures: list[dict]) -> dict[str, list[dict]]:
    return {
        paper: [item for item in figures if item["paper"] == paper]
        for paper in dict.fromkeys(item["paper"] for item in figures)
    }


def _traced(run: Run) -> dict | None:
    if run.trace is None:
        return None
    effects = io.read_table(run.need(run.trace["effects"]), schemas.EFFECTS)
    prompts = io.read_table(run.need(run.trace["prompts"]), schemas.TRACED)
    window = run.values["models"][run.model]["trace_window"]
    return {
        "data": traced.browser(effects, prompts, window, run.model),
        "stale": run.verdict(*run.trace.values()),
        "file": run.trace["effects"].as_posix(),
    }


def _edited(run: Run) -> list[dict]:
    """One block per dataset."""
    blocks = []
    for dataset, methods in run.edits.items():
        tables = {"scores": schemas.SCORES, "texts": schemas.TEXTS_WRITTEN}
        read = {
            method: {name: io.read_table(run.need(path), tables[name]) for name, path in files.items()}
            for method, files in methods.items()
        }
        records = io.read_table(run.need(run.records(dataset)), schemas.RECORDS_OF[dataset])
        if any("reverse" in set(frames["scores"]["kind"]) for frames in read.values()):
            records = edited.with_reverse(records, io.read_table(run.need(run.reverse), schemas.REVERSED))
        paths = [path for files in methods.values() for path in files.values()]
        blocks.append(
            {
                "dataset": dataset,
                "data": edited.browser(dataset, records, read, run.model),
                "stale": run.verdict(*paths),
            }
        )
    return blocks


def _durations(run: Run) -> dict | None:
    durations = run.durations()
    return durations and {name: tables.plain(frame, decimals=1) for name, frame in durations.items() if len(frame)}
