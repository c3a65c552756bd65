"""A sandbox of the repository in which every stage's script is a stand-in: same command line, same imports, no
computation.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import command_server
from command_lines import parse_call
from engram.job import code_digest
from engram.settings import items, stages, sweeps
from made_once import copy_of
from repository import ROOT

# In the sandbox these stand for the items of edits in params.yaml, which are hundreds of jobs.
ITEMS = """  rome/table1_zsre: {kind: table, from: [evaluate], dataset: zsre, methods: [none, rome], n: 1}
  rome/table4_counterfact: {kind: table, from: [evaluate, published], dataset: counterfact,
                            methods: [none, rome, mend-cf], n: 1}
  rome/fig23_attn_edit: {kind: figure, from: [evaluate], dataset: counterfact, methods: [none], n: 1,
                         sweep: {method: attn-edit, over: {epsilon: [0.001, 0.01]}}}
  memit/fig6_categories: {kind: figure, from: [records], dataset: counterfact, methods: [memit], n: 9of3,
                          for: {mini: {n: 10of3}}}
"""
COPIED = [
    "Snakefile",
    "dvc.yaml",
    "params.yaml",
    "profiles",
    "workflow",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvcignore",
    ".gitignore",
    "data/published.csv",
    "data/wordings.csv",
    "data/atlas",
]
STAND_IN = '''"""Stand-in for {name}: what it writes depends on its inputs and settings alone."""
import hashlib
import json

import sys
import types

sys.modules["pandas"] = types.SimpleNamespace(DataFrame=None)  # slow to import, and not needed here
if False:
{imports}

from engram.job import arguments


def main(argv=None):
    {job}
    paths = [path for value in vars(job.inputs).values() for path in (value if isinstance(value, list) else [value])]
    text = json.dumps(job.config, sort_keys=True) + str(sorted(vars(job.keys).items()))
    for path in paths:
        text += hashlib.sha256(path.read_bytes()).hexdigest() if path else "-"
    digest = hashlib.sha256(text.encode()).hexdigest()
    for name in vars(job.outputs):
        job.write(name, {{"value": int(digest[:6], 16)}} if name == "json" else f"{{name}} {{digest}}".encode())


if __name__ == "__main__":
    main()
'''


def stand_in(path: Path) -> str:
    """A script with the imports and the command line of the one at `path`."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return STAND_IN.format(
        name=path.name,
        job=f"job = {parse_call(path)}",
        imports="\n".join("    " + ast.get_source_segment(source, node) for node in imports),
    )


def scripts(root: Path = ROOT) -> list[Path]:
    """The scripts of all stages and the code of all paper items."""
    return sorted([*root.glob("workflow/scripts/*.py"), *root.glob("workflow/figures/*/*.py")])


def small_params() -> str:
    """params.yaml with few edits, and no other model than the active one."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for old, new in (
        (r"^  preload: 12 ", "  preload: 0 "),  # no libraries needed
        (r"^  real: \[.*?\]", "  real: []"),
        (r"^    items: \[[^]]*\]\n", ""),
    ):
        text, count = re.subn(old, new, text, flags=re.MULTILINE)
        assert count, f"params.yaml has no {old}"
    return text[: text.index(f"  {ITEMS.split(':')[0].strip()}:")] + ITEMS


def remembered(values: dict, model: str = "mini") -> list[str]:
    """The stages that dvc.yaml has for a model: those that make something, but for the items of `paper`, each of which
    is a stage of its own, and `fetch`, whose files are others' and are named by their hash in params.yaml.
    """
    wanted = stages.wanted(sweeps.expanded(items.seen(values, model)), model)
    return [stage for stage in wanted if stage not in ("fetch", "paper")]


class Sandbox:
    """A copy of the workflow with stand-ins, and its commands."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def environment(self) -> dict:
        """The variables that its commands run with: its own library, no memory of other runs."""
        found = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "GIT_"))}
        return found | {
            "PYTHONPATH": str(self.path / "workflow" / "lib"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DVC_SITE_CACHE_DIR": str(self.path.parent / "site"),
            "DVC_NO_ANALYTICS": "1",
            "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(self.path.parent / "xdg"),
        }

    def run(
        self, *command, ok: bool | None = True, plain: bool = False, timeout: float = 300
    ) -> subprocess.CompletedProcess:
        """Run a command of the environment there. Fails unless it succeeds (ok=True), fails (False) or either
        (None), or takes longer than `timeout` seconds. It starts with its libraries loaded, unless `plain`.
        """
        environment = self.environment
        if not plain:
            environment["PATH"] = f"{command_server.programs()}{os.pathsep}{environment['PATH']}"
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.path,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
        )
        assert ok is None or (done.returncode == 0) == ok, f"{command}: status {done.returncode}\n{done.stdout}"
        return done

    def jobs(self, *targets) -> dict[str, int]:
        """What `snakemake -n` would run: rule -> number of jobs."""
        lines = self.run("snakemake", *targets, "--dry-run", "--quiet", "host").stdout.splitlines()
        if any("Nothing to be done" in line for line in lines):
            return {}
        start = next(index for index, line in enumerate(lines) if line.startswith("-----"))
        rows = [
            line.split() for line in lines[start + 1 : lines.index(next(x for x in lines if x.startswith("total")))]
        ]
        return {rule: int(count) for rule, count in rows if not rule.startswith("all") and "@" not in rule}

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace the first `old` in a file."""
        path = self.path / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{name} does not hold {old!r}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def git(self, *words) -> str:
        return self.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", *words).stdout


def restore(clone: Sandbox) -> None:
    """What `make restore` does."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$$", "$")
    for line in re.search(r"^restore: setup\n((?:\t.+\n)+)", text, re.MULTILINE)[1].splitlines():
        clone.run("bash", "-c", line.strip().removeprefix("@"))


def make_sandbox(path: Path, real: bool = False) -> Sandbox:
    """An unbuilt sandbox, as a git repository with one commit; `real`: with the scripts that compute, instead of
    stand-ins.
    """
    for name in COPIED:
        source, target = ROOT / name, path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.part", ".*"))
        else:
            shutil.copy2(source, target)
    (path / "params.yaml").write_text(small_params(), encoding="utf-8")
    for script in [] if real else scripts(path):
        script.write_text(stand_in(script), encoding="utf-8")
    sandbox = Sandbox(path)
    sandbox.run("engram", "pipeline")
    sandbox.git("init", "--quiet")
    sandbox.git("add", "--all")
    sandbox.git("commit", "--quiet", "--message", "sandbox")
    return sandbox


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Sandbox:
    """A sandbox after `snakemake --cores all` and `engram record`; not to be changed."""

    def make(folder: Path) -> None:
        sandbox = make_sandbox(folder / "repo")
        sandbox.run("snakemake", "--cores", "2")
        sandbox.run("engram", "record")
        sandbox.git("gc", "--quiet")  # fewer files to copy

    return Sandbox(copy_of("sandbox", make, tmp_path_factory) / "repo")


@pytest.fixture
def sandbox(built, tmp_path) -> Sandbox:
    """A copy of the built sandbox, to be changed."""
    shutil.copytree(built.path, tmp_path / "repo", symlinks=True)
    return Sandbox(tmp_path / "repo")


@pytest.fixture
def library(built, monkeypatch):
    """Code digests in this process are of the sandbox's library, as in its own commands."""
    monkeypatch.setattr(code_digest, "LIBRARY", built.path / "workflow" / "lib")
    monkeypatch.setattr(code_digest, "WRITER", built.path / "workflow" / "lib" / "engram" / "job" / "io.py")
