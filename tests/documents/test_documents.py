"""What the documents say about the code is so: files, modules and names that they mention exist."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "workflow/lib/engram"
DECISIONS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/glossary.md", "docs/where.md")),
    *DECISIONS,
]
MADE = ("results/", "figures/", "data/", "logs/", ".resume/", ".downloads/", ".lineage/")  # by runs
# a path in backticks: it has a slash or ends as files of the repository do, and names no wildcard or placeholder
PATH = re.compile(r"`((?:[\w.-]+/)*[\w.-]+(?:/|\.py|\.smk|\.md|\.toml|\.yaml|\.yml|\.cff|\.lock|\.jsonl))`")
MODULE = re.compile(r"`?\bengram((?:\.\w+)+)")


def bound_names(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """The names that the statements of a module or class bind: functions, classes, variables, fields, imports."""
    names = {}
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names[node.name] = node
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id: node for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: node for alias in node.names}
    return names


def defines(file: Path, name: str) -> bool:
    """Whether a file binds `name`, as `build` or `Noise.draw`."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    for part in name.split("."):
        node = bound_names(body).get(part)
        if node is None:
            return False
        body = getattr(node, "body", [])
    return True


def exists(dotted: str) -> bool:
    """Whether `.package.module.name` is a package, a module, or a name in one, below engram."""
    parts = dotted.strip(".").split(".")
    for length in range(len(parts), 0, -1):
        module = LIBRARY.joinpath(*parts[:length])
        file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
        if file.is_file():
            return length == len(parts) or defines(file, ".".join(parts[length:]))
    return False


def rows(document: Path, columns: int) -> list[list[str]]:
    """The cells of all rows of the tables of a document that have so many columns, without heads."""
    lines = [
        line.strip("| \n").split(" | ") for line in document.read_text(encoding="utf-8").splitlines() if "|" in line
    ]
    return [cells for cells in lines if len(cells) == columns and not set(cells[0]) <= set("- :|")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_modules_that_a_document_names_exist(document):
    named = set(MODULE.findall(document.read_text(encoding="utf-8")))
    assert not sorted("engram" + name for name in named if not exists(name))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_a_document_names_exist(document):
    named = {path for path in PATH.findall(document.read_text(encoding="utf-8")) if not path.startswith(MADE)}
    folders = (ROOT, ROOT / "workflow", LIBRARY, ROOT / "tests", ROOT / "tests/bench", document.parent)
    missing = [path for path in named if not any((folder / path).exists() for folder in folders)]
    generated = {"report.html", "ledger.jsonl", "valid.json"}
    assert not sorted(path for path in missing if path.rstrip("/") not in generated)


def test_links_between_documents_lead_somewhere():
    documents = {*DOCUMENTS, *(ROOT / "docs").rglob("*.md")}
    links = {
        (document, link)
        for document in documents
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
        if "://" not in link
    }
    assert links
    assert not sorted(f"{document.name}: {link}" for document, link in links if not (document.parent / link).exists())


def test_a_name_that_does_not_exist_is_noticed():
    assert exists(".model.architectures.ARCHITECTURES")
    assert not exists(".model.architectures.NOWHERE")
    assert not exists(".nowhere")


def test_every_question_is_answered_by_code_that_exists():
    questions = [cells for cells in rows(ROOT / "docs/where.md", 3) if cells[0].endswith("?")]
    assert len(questions) >= 20
    wrong = [
        question
        for question, file, name in questions
        if not (LIBRARY / file.strip("`")).is_file() or not defines(LIBRARY / file.strip("`"), name.strip("`"))
    ]
    assert not wrong


def test_words_of_the_glossary_are_used_where_it_says():
    """Each name in backticks in the third column occurs as a word in code, rules, params.yaml or its schema."""
    files = [
        ROOT / "params.yaml",
        *(file for kind in ("smk", "py", "json") for file in (ROOT / "workflow").rglob(f"*.{kind}")),
    ]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    words = set(re.findall(r"\w+", text))
    glossary = [cells for cells in rows(ROOT / "docs/glossary.md", 4) if cells[0] != "word"]
    assert len(glossary) > 30
    unused = [
        f"{cells[0]}: {name}"
        for cells in glossary
        for name in re.findall(r"`([^`]+)`", cells[2])
        if not (exists(name.removeprefix("engram")) if name.startswith("engram.") else (ROOT / name).exists())
        and not set(re.findall(r"[^\W\d]\w+", name)) <= words
    ]
    assert not unused


def test_a_word_stands_once_in_the_glossary():
    words = [cells[0] for cells in rows(ROOT / "docs/glossary.md", 4)]
    words = [word for word in words if word != "word"]
    assert len(words) == len(set(words))


def test_the_page_of_packages_is_current():
    done = subprocess.run(
        [sys.executable, "docs/packages.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_decision_says_what_and_why_and_stands_in_the_index():
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    for path in DECISIONS:
        text = path.read_text(encoding="utf-8")
        title = re.match(rf"# {path.name[:4]}\. (.+)\n", text)
        assert title, path.name
        assert "\n## What\n" in text, path.name
        assert "\n## Why\n" in text, path.name
        assert f"[{title[1]}]({path.name})" in index, f"{path.name} is not in the index, or under another title"


def test_each_package_is_described_by_one_line():
    packages = [path for path in LIBRARY.iterdir() if (path / "__init__.py").is_file()]
    texts = {
        path.name: ast.get_docstring(ast.parse((path / "__init__.py").read_text(encoding="utf-8"))) for path in packages
    }
    assert {name for name, text in texts.items() if not text or len(text.split("\n\n")[0].splitlines()) != 1} == set()


def test_version_and_licence_are_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert citation["version"] == project["version"]
    assert f"## [{project['version']}]" in changes
    assert citation["license"] == project["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
    assert {"arXiv:2202.05262", "arXiv:2210.07229"} == {
        identifier["value"] for reference in citation["references"] for identifier in reference["identifiers"]
    }


def test_targets_of_make_are_documented():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    documented = set(re.findall(r"^#   make (\w[\w-]*)", makefile, re.MULTILINE))
    phony = set(re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split())
    assert documented == phony - {"all"}


def test_hosted_checks_are_those_of_the_project():
    """One script says what a clean checkout must pass; the workflow file calls it, with the Python of the project."""
    (job,) = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"].values()
    python = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert ".ci/run" in [step.get("run") for step in job["steps"]]
    assert len(python) == 1
    assert f">={python[0]}," in project["requires-python"]
