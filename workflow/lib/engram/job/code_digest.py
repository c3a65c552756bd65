"""What code a job runs, and its digest, which comments and docstrings do not change. Never imports torch.

code = code_digest.files(*code_digest.roots_of("workflow/scripts/edit.py", {"name": "rome"}))
code_digest.digest(code)   # one hash of all of it
code_digest.modules(code)  # a hash of each file
"""

import ast
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).parents[2]
PLUMBING = {
    "engram.job.arguments",
    "engram.job.code_digest",
    "engram.job.guard",
    "engram.job.ledger_entry",
    "engram.job.lineage",
    "engram.job.progress",
    "engram.job.input_schemas",
    "engram.job.schema_checks",
    "engram.job.schemas",
}  # change no number: rerun nothing. Schemas check tables; one that no longer fits is refused where it is read
WRITER = LIBRARY / "engram" / "job" / "io.py"  # every artifact goes through it, behind engram.job.arguments


def roots_of(script: Path | str, method: dict[str, Any] | None) -> list[str]:
    """The script, and the file of the method that its settings hold (`name`, and `method` if the file has another
    name): it is loaded by name, so no import shows it.
    """
    names = [method.get("method", method["name"]).replace("-", "_")] if method else []
    return [str(script), *(str(LIBRARY / "engram" / "methods" / f"{name}.py") for name in names)]


def files(*roots: str) -> dict[Path, str]:
    """The roots, the writer and all library modules they import, each read now: the text of its syntax tree without
    docstrings by its path, in the order of the paths. OSError for a root that cannot be read.
    """
    todo, seen = [Path(root).resolve() for root in (*roots, str(WRITER))], dict[Path, str]()
    while todo:
        path = todo.pop()
        if path not in seen:
            names, seen[path] = _parsed(path.read_text(encoding="utf-8"))
            modules = [LIBRARY / name.replace(".", "/") for name in names - PLUMBING]
            todo += [
                file
                for module in modules
                for file in (module.with_suffix(".py"), module / "__init__.py")
                if file.exists()
            ]
    return dict(sorted(seen.items()))


def digest(code: Mapping[Path, str]) -> str:
    """Hash, 16 hexadecimal digits, of what `files` returned; comments, docstrings and the folder do not count."""
    text = "".join(sorted(f"{path.name}\n{tree}\n" for path, tree in code.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def modules(code: Mapping[Path, str]) -> dict[str, str]:
    """The paths of what `files` returned, from `workflow` on, each with a hash of its own: what a change of code is
    named by.
    """
    return {from_workflow(path): text_digest(tree) for path, tree in code.items()}


def tree_text(code: str) -> str:
    """The syntax tree of a file of code, without docstrings, as text."""
    return _parsed(code)[1]


def text_digest(tree: str) -> str:
    """Hash, 12 hexadecimal digits, of the text of a syntax tree."""
    return hashlib.sha256(tree.encode()).hexdigest()[:12]


def from_workflow(path: Path) -> str:
    """The path of a file of code in the repository; its name, if it lies elsewhere."""
    start = max((i for i, part in enumerate(path.parts) if part == "workflow"), default=len(path.parts) - 1)
    return "/".join(path.parts[start:])


@cache
def _parsed(text: str) -> tuple[frozenset[str], str]:
    """The names in code that may be modules of the library, and its syntax tree without docstrings, as text."""
    tree = ast.parse(text)
    names = frozenset(name for name in _imports(tree) if name.split(".")[0] == "engram")
    return names, ast.dump(_without_docstrings(tree))


def _imports(tree: ast.AST) -> Iterator[str]:
    """Every name that may be a module: what is imported, and what is imported from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree
