"""dvc.yaml, written from params.yaml and the code: `engram pipeline`.

What a stage of the workflow reads from other stages and from params.yaml is said here, once. The library modules that
its script imports are found as for code digests, and every item of `paper:` is a stage of its own.
"""

from pathlib import Path
from typing import NamedTuple

from engram.job import lineage
from engram.settings import edits, hyperparameters, items, sweeps

LIBRARY = "workflow/lib/engram"
FIRST = "results/params/valid.json"
RUN = ("run.threads", "run.threads_of", "run.device")
SUFFIXES = {"figure": ("pdf", "png", "csv"), "table": ("csv", "md"), "metrics": ("json",)}


class Stage(NamedTuple):
    """What one stage word reads: folders of other stages; keys of params.yaml; `methods`: whether it loads files by
    name.
    """

    reads: tuple[str, ...]
    params: tuple[str, ...]
    methods: bool = False


STAGES = {
    "dataset": Stage(("wordings",), ("models.${item}.source", "sources")),
    "train": Stage(("data",), (*RUN, "models.${item}.train")),
    "known": Stage(("data", "train"), (*RUN, "known")),
    "noise": Stage(("data", "train", "known"), (*RUN, "models.${item}.noise", "noise", "trace.variants")),
    "prefixes": Stage(("train",), (*RUN, "prefixes")),
    "covariance": Stage(("data", "train"), (*RUN, "models.${item}.covariance_layers", "covariance")),
    "trace": Stage(("train", "known", "noise"), (*RUN, "models.${item}.trace_window", "models.${item}.noise", "trace")),
    "gradients": Stage(("train", "known", "noise", "trace"), (*RUN, "models.${item}.noise", "trace", "gradients")),
    "targets": Stage(
        ("data", "train", "known", "prefixes"), (*RUN, "models.${item}.records", "targets", "methods", "paper"), True
    ),
    "hypernet": Stage(("data", "train", "known"), (*RUN, "models.${item}.records", "hypernet", "methods", "paper")),
    "edit": Stage(
        ("data", "train", "known", "prefixes", "covariance", "targets", "hypernet"),
        (*RUN, "models.${item}.records", "edit", "methods", "paper"),
        True,
    ),
    "evaluate": Stage(("data", "edit"), ("methods", "paper")),
}
KEPT = {
    "data": "data/${item}",
    "wordings": "data/wordings.csv",
    "published": "data/published.csv",
}  # not below results/
OPTIONAL = {"targets", "hypernet"}  # made only if an edit of some item reads them
# the folder of what items read, where not its name
READ_BY_ITEMS = {"dataset": "data", "zsre": "data", "records": "evaluate", "norms": "edit", "drift": "edit"}
TRACED = ("models.${item}.trace_window", "models.${item}.noise", "trace")
HEADER = """\
# Written by `engram pipeline` from params.yaml and the code; tests/workflow/test_dvc.py holds it to the rules.
# What DVC remembers: one stage per stage word and one per paper item, each for every active model (run.models).
# Snakemake decides what to run: every command is a target of the Snakefile.
#   dvc repro                                        everything
#   dvc repro trace@mini                             one stage of one model, with what lies upstream
#   dvc repro rome-fig2_average_traces@mini          one figure, with what lies upstream

vars:
  - lib: workflow/lib/engram

stages:
  params:
    cmd: PATH=.venv/bin:$PATH engram check --out results/params/valid.json
    deps:
      - params.yaml
      - workflow/schemas/params.schema.yaml
    outs:
      - results/params/.lineage/valid.json.json: {persist: true}
      - results/params/valid.json: {persist: true}
"""


def text(values: dict, root=".") -> str:
    """The content of dvc.yaml for the contents of params.yaml; `root`: where the repository is."""
    seen = [sweeps.expanded(items.seen(values, model)) for model in values["run"]["models"]]
    read = {need for one in seen for row in edits.wanted(one) for need in hyperparameters.needs(one, row["method"])}
    made = [word for word in STAGES if word not in OPTIONAL - read]
    parts = [_stage(root, word, made) for word in made]
    parts += filter(None, (_item(root, item, values) for item in values["paper"]))
    return "\n".join([HEADER, *parts, _compared(values)])


def update(path, values: dict) -> bool:
    """Write dvc.yaml at `path`, in the root of the repository, unless it says the same already; whether it was
    written.
    """
    from engram.job import io  # imports pandas, slow for a command that only reads

    new, file = text(values, Path(path).parent).encode(), Path(path)
    if file.is_file() and file.read_bytes() == new:
        return False
    io.write(file, new)
    return True


def _stage(root, word: str, made: list[str]) -> str:
    stage = STAGES[word]
    folders = [_folder(name) for name in stage.reads if name in KEPT or name in made]
    methods = sorted(Path(root, LIBRARY, "methods").glob("[!_]*.py")) if stage.methods else []
    code = _code(root, f"workflow/scripts/{word}.py", methods)
    return _block(
        word,
        f"{word}@${{item}}",
        [*folders, *code],
        stage.params,
        [f"{_folder('data' if word == 'dataset' else word)}: {{persist: true}}"],
    )


def _item(root, item: str, values: dict) -> str:
    """The stage of one figure or table, for the active models that it is made for; nothing if there is none.

    Git keeps those files, so DVC has no copy of them.
    """
    spec, active = values["paper"][item], values["run"]["models"]
    models = [model for model in active if items.applies(spec, model)]
    if not models:
        return ""
    files = [Path("figures/${item}", f"{item}.{suffix}") for suffix in SUFFIXES[spec["kind"]]]
    params = (*(TRACED if "trace" in spec["from"] else ()), f"paper.{item}")
    outs = [
        f"{path.as_posix()}: {{cache: false, persist: true}}"
        for path in (*files, *(lineage.record_path(file) for file in files))
    ]
    folders = dict.fromkeys(_folder(READ_BY_ITEMS.get(name, name)) for name in spec["from"])
    code = _code(root, f"workflow/figures/{item}.py", [])
    return _block(
        item.replace("/", "-"),
        files[0].as_posix(),
        [*folders, *code],
        params,
        outs,
        "${run.models}" if models == active else f"[{', '.join(models)}]",
    )


def _compared(values: dict) -> str:
    """What `dvc metrics` and `dvc plots` show of every active model: its numbers, its loss in training, its
    pictures.
    """
    lines: dict[str, list[str]] = {"metrics": [], "plots": []}
    for model in values["run"]["models"]:
        if "train" in values["models"][model]:
            lines["plots"] += [
                f"  - loss of {model} in training:",
                "      x: step",
                f"      y: {{results/train/{model}/loss.csv: loss}}",
                "      x_label: training step",
                "      y_label: mean loss per token (nats)",
            ]
        for item, spec in values["paper"].items():
            if items.applies(spec, model) and spec["kind"] in ("metrics", "figure"):
                key, suffix = ("metrics", "json") if spec["kind"] == "metrics" else ("plots", "png")
                lines[key].append(f"  - figures/{model}/{item}.{suffix}")
    return "\n".join(f"{key}:\n" + "\n".join(rows) + "\n" for key, rows in lines.items() if rows)


def _folder(name: str) -> str:
    return KEPT.get(name, f"results/{name}/${{item}}")


def _code(root, script: str, roots: list[Path]) -> list[str]:
    """The script and the library modules of its code digest; of methods loaded by name, their folder."""
    found = lineage.code_files(str(Path(root, script)), *map(str, roots))
    paths = [
        path.relative_to(Path(root).resolve()).as_posix()
        for path, tree in found
        if not tree.startswith("Module(body=[Pass()]")
    ]  # no file with a docstring alone
    methods = f"{LIBRARY}/methods"
    library = {methods if roots and path.startswith(f"{methods}/") else path for path in paths if path != script}
    return [script, *sorted(path.replace(LIBRARY, "${lib}") for path in library)]


def _block(name: str, target: str, deps: list[str], params, outs: list[str], models: str = "${run.models}") -> str:
    rows = {"deps": [FIRST, *deps], "params": ["seed", *params], "outs": outs}
    lines = [
        f"  {name}:",
        f"    foreach: {models}",
        "    do:",
        f"      cmd: PATH=.venv/bin:$PATH snakemake --cores all {target}",
    ]
    for key, values in rows.items():
        lines += [f"      {key}:", *(f"        - {value}" for value in values)]
    return "\n".join(lines) + "\n"
