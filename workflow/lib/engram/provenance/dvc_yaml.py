"""dvc.yaml, derived from the jobs of Snakemake: `engram pipeline`.

A stage of DVC is all jobs of one stage word for one model, or the one job of an item of `paper:`. What it depends on
are the files that those jobs read, the code that they run, and the keys of params.yaml that decide their settings.

Original files (stage `fetch`) are no stage of DVC and no dependency: they are others', may be large, and where they are
not yet, a fresh clone has to fetch them first; their block in params.yaml names them by hash, and is watched.
"""

from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from engram.job import code_digest, lineage
from engram.provenance import planned_jobs
from engram.provenance.planned_jobs import Job
from engram.settings import params
from engram.settings.stages import STAGES

LIBRARY = "workflow/lib/engram"
FIRST = "results/params/valid.json"  # of the stage `params`: every other one depends on it
FETCH = "fetch"
HEADER = """\
# Written by `engram pipeline` from the jobs of Snakemake; tests/workflow/test_dvc.py holds it to them.
# What DVC remembers: one stage per stage word and one per paper item, each for every model of run.models and run.real.
# Snakemake decides what to run: every command is a target of the Snakefile.
#   dvc repro $(engram stages)                       everything of the active models
#   dvc repro trace@mini                             one stage of one model, with what lies upstream
#   dvc repro rome-fig2_average_traces@mini          one figure, with what lies upstream

vars:
  - lib: workflow/lib/engram

stages:
  params:
    cmd: PATH=.venv/bin:$PATH engram check --out results/params/valid.json
    deps:
      - params.yaml
      - workflow/params.schema.json
    outs:
      - results/params/.lineage/valid.json.json: {persist: true}
      - results/params/valid.json: {persist: true}
"""


class Stage(NamedTuple):
    """What DVC knows of a stage of one model. The model's name is `MODEL` in all of it."""

    deps: tuple[str, ...]
    params: tuple[str, ...]
    outs: tuple[str, ...]


MODEL = "\0"  # stands for the name of a model, and in no path or key


def text(values: dict, jobs: list[Job], root: Path | str = ".", models: list[str] | None = None) -> str:
    """The content of dvc.yaml. `values`: contents of params.yaml; `jobs`: all that Snakemake would run for `models`,
    or the active ones; `root`: where the repository is.
    """
    models = values["run"]["models"] if models is None else models
    active = models if models == values["run"]["models"] else None
    parts = [_block(name, stages, models, active) for name, stages in _stages(values, jobs, Path(root)).items()]
    return "\n".join([HEADER, *parts, _compared(values, jobs, models)])


def update(path: Path | str, values: dict, jobs: list[Job] | None = None) -> bool:
    """Write dvc.yaml at `path`, in the root of the repository, unless it says the same already; whether it was
    written. Without `jobs` Snakemake is asked for them: RuntimeError if it has none to say.
    """
    from engram.job import io  # imports pandas, slow for a command that only reads

    file = Path(path)
    models = params.remembered(file.parent / "params.yaml")
    jobs = planned_jobs.jobs(file.parent, models) if jobs is None else jobs
    new = text(values, jobs, file.parent, models).encode()
    if file.is_file() and file.read_bytes() == new:
        return False
    io.write(file, new)
    return True


def _stages(values: dict, jobs: list[Job], root: Path) -> dict[str, dict[str, Stage]]:
    """Name of a stage of DVC -> model -> the stage: first the stage words in the order of the data, then the items in
    the order of params.yaml.
    """
    makers = {path: job for job in jobs for path in job.outputs}
    names = [*STAGES, *(item.replace("/", "-") for item in values["paper"])]
    groups: dict[str, dict[str, list[Job]]] = {name: {} for name in names}
    for job in sorted(jobs, key=lambda job: job.outputs):
        if job.rule != FETCH:
            groups[_name(job)].setdefault(job.wildcards["model"], []).append(job)
    return {
        name: {model: _stage(root, model, of_model, makers, values) for model, of_model in models.items()}
        for name, models in groups.items()
        if models
    }


def _is_item(job: Job) -> bool:
    """Whether a job makes an item of `paper:`; its files are kept by git, each by its name."""
    return "item" in job.wildcards


def _name(job: Job) -> str:
    """The stage of DVC that a job belongs to, without the model: also the name of the target of the Snakefile."""
    return f"{job.wildcards['paper']}-{job.wildcards['item']}" if _is_item(job) else job.rule


def _stage(root: Path, model: str, jobs: list[Job], makers: dict[str, Job], values: dict) -> Stage:
    """One stage of one model: folders that its jobs read and write, single files of items, code, keys."""
    read = {path for job in jobs for path in job.inputs}
    fetched = {path: makers[path] for path in read if path in makers and makers[path].rule == FETCH}
    folders = {_out(makers[path], path) if path in makers else path for path in read - fetched.keys()}
    roots = {file for job in jobs for file in code_digest.roots_of(root / job.command[0], job.config.get("method"))}
    keys = {_watched(values, key) for job in (*jobs, *fetched.values()) for key in job.keys}
    outs = dict.fromkeys(_out(job, path) for job in jobs for path in job.outputs)
    if any(_is_item(job) for job in jobs):
        outs |= dict.fromkeys(lineage.record_path(path).as_posix() for path in outs)
    return Stage(
        (FIRST, *sorted(_of_model(path, model, "/") for path in folders), *_code(root, roots)),
        ("seed", *(_of_model(key, model, ".") for key in sorted(keys - {"seed"}))),
        tuple(_of_model(path, model, "/") for path in outs),
    )


def _watched(values: dict, key: str) -> str:
    """The dotted key that DVC can watch for `key`: of a name with a dot in it, as of a file, the block it is in."""
    parts = key.split(".")
    block: Any = values
    for at, part in enumerate(parts):
        rest = ".".join(parts[at:])
        if at and any("." in name and f"{rest}.".startswith(f"{name}.") for name in block):
            return ".".join(parts[:at])
        block = block[part] if isinstance(block.get(part), dict) else {}
    return key


def _out(job: Job, path: str) -> str:
    """What DVC keeps of one output of a job: the folder of its stage and model, or the file of an item."""
    parts = PurePath(path).parts
    return path if _is_item(job) else PurePath(*parts[: parts.index(job.wildcards["model"]) + 1]).as_posix()


def _of_model(text: str, model: str, separator: str) -> str:
    return separator.join(MODEL if part == model else part for part in text.split(separator))


def _code(root: Path, roots: Iterable[str]) -> list[str]:
    """The files of the code digest of these roots; none with a docstring alone."""
    paths = [
        path.relative_to(root.resolve()).as_posix()
        for path, tree in code_digest.files(*sorted(roots)).items()
        if not tree.startswith("Module(body=[Pass()]")
    ]
    return sorted(path.replace(LIBRARY, "${lib}") for path in paths)


def _block(name: str, stages: dict[str, Stage], every: list[str], active: list[str] | None) -> str:
    """One stage of dvc.yaml for its models. Where they differ, each has its own entries under numbers, of which one
    that has fewer repeats what it depends on anyway: DVC fills in words, not lists.
    """
    models = [model for model in every if model in stages]
    first, *others = (stages[model] for model in models)
    if all(stage == first for stage in others):
        named = "${run.models}" if models == active else f"[{', '.join(models)}]"
        return _lines(name, [f"    foreach: {named}"], first, "${item}")
    shared = Stage(
        *(
            tuple(row for row in rows if all(row in stages[model][at] for model in models))
            for at, rows in enumerate(first)
        )
    )
    own = {model: _own(stages[model], shared, model) for model in models}
    most = {kind: max(len(rows[kind]) for rows in own.values()) for kind in ("dep", "key")}
    each = ["    foreach:"]
    for model in models:
        rows = {
            kind: own[model][kind] + [fill] * (most[kind] - len(own[model][kind]))
            for kind, fill in (("dep", FIRST), ("key", "seed"))
        }
        each.append(f"      {model}:")
        each += [f"        {kind}{at}: {row}" for kind in most for at, row in enumerate(rows[kind], 1)]
    slots = {kind: tuple(f"${{item.{kind}{at}}}" for at in range(1, most[kind] + 1)) for kind in most}
    return _lines(name, each, Stage(shared.deps + slots["dep"], shared.params + slots["key"], shared.outs), "${key}")


def _own(stage: Stage, shared: Stage, model: str) -> dict[str, list[str]]:
    """What a model's stage has beyond the others': folders, files and code, and keys."""

    def rest(at: int) -> list[str]:
        rows = (row for row in stage[at] if row not in shared[at])
        return [row.replace(MODEL, model).replace("${lib}", LIBRARY) for row in rows]

    return {"dep": rest(0), "key": rest(1)}


def _lines(name: str, each: list[str], stage: Stage, model: str) -> str:
    item = stage.outs[0].startswith("figures/")
    flags = "{cache: false, persist: true}" if item else "{persist: true}"  # git keeps the files of items
    lines = [
        f"  {name}:",
        *each,
        "    do:",
        f"      cmd: PATH=.venv/bin:$PATH ENGRAM_MODELS={MODEL} snakemake --cores all {name}@{MODEL}",
    ]
    for kind, rows in stage._asdict().items():
        lines += [f"      {kind}:", *(f"        - {row}" + (f": {flags}" if kind == "outs" else "") for row in rows)]
    return "\n".join(lines).replace(MODEL, model) + "\n"


def _compared(values: dict, jobs: list[Job], models: list[str]) -> str:
    """What `dvc metrics` and `dvc plots` show of every model: its numbers, its loss in training, its
    pictures.
    """
    lines: dict[str, list[str]] = {"metrics": [], "plots": []}
    items = list(values["paper"])
    for model in models:
        made = [job for job in jobs if job.wildcards.get("model") == model]
        for path in (path for job in made if job.rule == "train" for path in job.outputs if path.endswith(".csv")):
            lines["plots"] += [
                f"  - loss of {model} in training:",
                "      x: step",
                f"      y: {{{path}: loss}}",
                "      x_label: training step",
                "      y_label: mean loss per token (nats)",
            ]
        shown = filter(_is_item, made)
        for job in sorted(shown, key=lambda job: items.index(f"{job.wildcards['paper']}/{job.wildcards['item']}")):
            lines["metrics"] += [f"  - {path}" for path in job.outputs if path.endswith(".json")]
            lines["plots"] += [f"  - {path}" for path in job.outputs if path.endswith(".png")]
    return "\n".join(f"{key}:\n" + "\n".join(rows) + "\n" for key, rows in lines.items() if rows)
