"""The laws of the design: one stage, one word; arrows point one way; budgets; rules say all they do."""

import ast
import re
import subprocess
import sys

import pytest
import yaml

from engram.settings.stages import STAGES
from repository import ROOT
from sandboxes import remembered, scripts

LIBRARY = ROOT / "workflow" / "lib" / "engram"
# packages that compute: they know no path, no params.yaml, no DVC; scripts and rules hand those in
COMPUTING = ("datasets", "model", "tracing", "editing", "methods", "evaluation", "drawing")
RULES = {stage: (ROOT / f"workflow/rules/{stage}.smk").read_text() for stage in STAGES}
MODULES = sorted(LIBRARY.rglob("*.py"))
TESTED_ELSEWHERE = {  # reason: {module: the file of tests that would fail without it}
    "it is drawn, and its numbers are read, by items": {
        "drawing/categories": "figures/test_categories",
        "drawing/curves": "figures/test_curves",
        "drawing/items": "figures/test_paper_items",
        "drawing/layer_comparison": "figures/test_more_items",
        "drawing/method_tables": "figures/test_tables",
        "drawing/single_records": "figures/test_more_items",
        "drawing/text_samples": "figures/test_paper_items",
        "drawing/trace_panels": "figures/test_trace_figures",
    },
    "a method that is one call of an editor, whose tests run every method of its kind": {
        "methods/attn_edit": "editing/tuning/test_finetune",
        "methods/ft": "editing/tuning/test_finetune",
        "methods/ke": "editing/trained_editors/test_ke_network",
        "methods/mend": "editing/trained_editors/test_mend_network",
        "methods/none": "methods/test_contract",
        "methods/pmet": "editing/test_residual_spread",
    },
    "it is a step of a computation, and the oracle is of the whole": {
        "editing/editor": "methods/test_contract",
        "editing/subject_keys": "methods/test_rome",
        "editing/values/moved_forward": "editing/values/test_targets",
        "model/block_parts": "model/test_architectures",
        "tracing/passes": "tracing/test_causal_trace",
    },
    "it is said or read by a command, which is what can go wrong": {
        "cli/command": "cli/test_main",
        "cli/explore": "cli/test_main",
        "cli/run": "cli/test_main",
        "cli/verify": "cli/test_main",
        "job/ledger_entry": "provenance/test_ledger",
        "job/schema_page": "job/test_schemas",
        "job/progress": "tracing/test_memory_plan",
        "machine/devices": "machine/test_doctor",
        "machine/external_inputs": "machine/test_doctor",
        "provenance/chain": "provenance/test_audit",
        "report/entries": "report/test_page",
        "report/surroundings": "report/test_page",
    },
    "it is what Snakemake and DVC do together": {
        "provenance/record_run": "workflow/test_dvc",
        "provenance/tidy": "workflow/test_graph",
    },
    "it is a part of what is checked whole": {
        "datasets/atlas_files": "datasets/test_atlas",
        "job/input_schemas": "job/test_schemas",
        "datasets/strict_reading": "datasets/test_malformed",
        "datasets/world_vocabulary": "datasets/test_world",
        "settings/blocks": "settings/test_families",
        "settings/hyperparameters": "settings/test_params",
        "settings/checking": "settings/test_params",
        "settings/models": "settings/test_params",
        "settings/objective": "settings/test_families",
        "settings/original_files": "settings/test_params",
        "settings/sections": "settings/test_params",
        "settings/sources": "settings/test_params",
        "settings/sweeps": "settings/test_edits",
        "settings/trace_variants": "settings/test_params",
        "settings/trained_editors": "scripts/test_train_editors",
        "settings/tuning": "editing/tuning/test_finetune",
    },
}


def imported(path):
    """Names that a file imports, at any depth of the code."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; code digests follow absolute ones"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def strings(path):
    """String constants of a file without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
    ]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_one_word(stage):
    assert f'include: "workflow/rules/{stage}.smk"' in (ROOT / "Snakefile").read_text()
    rules = re.findall(r"^rule (\w+):", RULES[stage], re.MULTILINE)
    if stage == "paper":
        assert all(name.startswith("paper_") for name in rules)
        return
    assert rules == [stage]
    assert (ROOT / f"workflow/scripts/{stage}.py").is_file()
    assert f'"python workflow/scripts/{stage}.py"' in RULES[stage]
    assert f'"logs/{stage}/' in RULES[stage]
    folder = "data" if stage == "dataset" else f"results/{stage}"
    starts = (f'="{folder}/{{model}}/',) if stage != "fetch" else ('="results/fetch/{name}/', '="data/original/{name}"')
    outputs = re.search(r"    output:\n((?:        .*\n)+)", RULES[stage])[1]
    assert all(any(start in line for start in starts) for line in outputs.splitlines())
    values, pipeline = (yaml.safe_load((ROOT / name).read_text()) for name in ("params.yaml", "dvc.yaml"))
    models = (*values["run"]["models"], *values["run"]["real"])
    assert (stage in pipeline["stages"]) == any(stage in remembered(values, model) for model in models)


def test_every_rule_file_and_script_belongs_to_a_stage():
    assert {path.stem for path in (ROOT / "workflow/rules").glob("*.smk")} == {*STAGES, "common", "preload"}
    assert {path.stem for path in (ROOT / "workflow/scripts").glob("*.py")} == {*STAGES} - {"paper"}


def test_all_targets_exist(built):
    listed = built.run("snakemake", "--list-rules").stdout
    for stage in STAGES:
        assert re.search(rf"^all_{stage}\b", listed, re.MULTILINE)
        assert re.search(rf"^{stage}@mini\b", listed, re.MULTILINE)


@pytest.mark.parametrize("stage", STAGES)
def test_rules_say_all_they_do(stage):
    """Contract first; docstring, log, benchmark and code digest on every rule; one quoted flag per line."""
    text = RULES[stage]
    assert re.match(r'""".+\n\nIN   .+\n(     .+\n)*OUT  .+\n(     .+\n)*"""\n', text), "no header IN / OUT"
    for rule in re.split(r"^rule ", text, flags=re.MULTILINE)[1:]:
        for part in ('    """', "    log:", "    benchmark:", "    params:", "config=", "code=code_of(", "    shell:"):
            assert part in rule, f"{stage}: no {part.strip()}"
        lines = [line.strip() for line in rule[rule.index("    shell:") :].splitlines()[1:] if line.strip()]
        assert lines[0].startswith('"python workflow/') and lines[-1] == '" 2>&1 | tee {log:q} >&2"'
        for line in lines[1:-1]:
            assert re.fullmatch(r'" (--[a-z-]+ )?\{[a-z_.]+:q\}"', line), f"{stage}: {line}"
        if stage not in ("fetch", "dataset", "evaluate", "paper"):
            assert f'threads: threads_of("{stage}")' in rule and ("gpu=GPU" in rule) == (stage != "convert")
        assert "script:" not in rule and "run:" not in rule


@pytest.mark.parametrize("stage", STAGES)
def test_a_path_is_typed_once(stage):
    """Only its own rule spells out the path of an artifact; others say rules.x.output.y."""
    inputs = re.findall(r"^    input:\n((?:        .*\n)+)", RULES[stage], re.MULTILINE)
    assert not any(re.search(r'"(data|results|figures)/', block) for block in inputs)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_the_library_knows_no_path_and_no_workflow(path):
    names = list(imported(path))
    asks = path.relative_to(LIBRARY).as_posix() == "provenance/planned_jobs.py"  # in a process of its own
    assert asks == ("snakemake" in {name.split(".")[0] for name in names})
    if path.relative_to(LIBRARY).parts[0] not in COMPUTING:
        return
    assert not [name for name in names if name.split(".")[0] in ("dvc", "yaml")]
    bad = [
        text
        for text in strings(path)
        if re.match(r"(data|results|figures|workflow|logs)/|\.\./|/(tmp|root|home|work)/", text)
        or "params.yaml" in text
    ]
    assert not bad, f"{path}: {bad}"


def test_every_module_has_its_test():
    """`engram/tracing/noise.py` is tested by `tests/tracing/test_noise.py`, or TESTED_ELSEWHERE says where and why."""
    tests = ROOT / "tests"
    names = [path.relative_to(LIBRARY).with_suffix("") for path in MODULES if path.stem != "__init__"]
    without = {str(name) for name in names if not (tests / name.parent / f"test_{name.stem}.py").is_file()}
    elsewhere = {module: file for files in TESTED_ELSEWHERE.values() for module, file in files.items()}
    assert without - set(elsewhere) == set(), "modules without a file of tests"
    assert set(elsewhere) - without == set(), "in TESTED_ELSEWHERE, but no module, or one with a file of tests"
    assert {file for file in elsewhere.values() if not (tests / f"{file}.py").is_file()} == set(), "no such tests"


def test_methods_and_scripts_stand_alone():
    methods = {path.stem for path in (LIBRARY / "methods").glob("[!_]*.py")}
    for path in (LIBRARY / "methods").glob("[!_]*.py"):
        assert not {f"engram.methods.{name}" for name in methods} & set(imported(path)), path
    stages = set(STAGES) | {path.stem for path in scripts() if path.parent.name != "scripts"}
    for path in scripts():
        roots = {name.split(".")[0] for name in imported(path)}
        assert not roots & (stages | {"scripts", "figures", "workflow", "snakemake", "dvc"}), path
        assert re.search(r"def main\(argv.*= ?None\)", path.read_text()), path


def test_figures_and_plumbing_start_without_torch():
    code = (
        "import runpy, sys\n"
        "from engram.cli import main\n"
        "from engram.job import code_digest, lineage\n"
        "from engram.provenance import audit, dvc_yaml, record_run\n"
        "from engram.settings import params\n"
        "slow = {'torch', 'snakemake', 'dvc', 'pandas'} & set(sys.modules)\n"
        "assert not slow, f'engram audit imports {slow}'\n"
        "for path in sys.argv[1:]:\n"
        "    runpy.run_path(path, run_name='imported')\n"
        "assert 'torch' not in sys.modules\n"
    )
    figures = [str(path) for path in scripts() if path.parent.name != "scripts"]
    subprocess.run([sys.executable, "-c", code, *figures], check=True, cwd=ROOT)


def over_budget(path, lines, function=None):
    """What is too long in a file: the file, a line, a function."""
    text = path.read_text(encoding="utf-8")
    rows = text.splitlines()
    if len(rows) > lines:
        yield f"{path.relative_to(ROOT)}: {len(rows)} lines, budget {lines}"
    for number, row in enumerate(rows, 1):
        if len(row) > 120 and path.suffix != ".py":  # Python: ruff
            yield f"{path.relative_to(ROOT)}, line {number}: {len(row)} characters, budget 120"
    for node in ast.walk(ast.parse(text)) if function else []:
        size = node.end_lineno - node.lineno + 1 if isinstance(node, ast.FunctionDef) else 0
        if size > function:
            yield f"{path.relative_to(ROOT)}: {node.name} has {size} lines, budget {function}"


def test_budgets():
    """docs/decisions/0022 says where the numbers are from."""
    found = [row for path in MODULES for row in over_budget(path, 400, 52)]
    found += [row for path in scripts() for row in over_budget(path, 96 if path.parent.name == "scripts" else 144, 52)]
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        found += over_budget(path, 120 if path.stem == "common" else 150)
    found += over_budget(ROOT / "Snakefile", 75)
    assert not found, "\n".join(found)
