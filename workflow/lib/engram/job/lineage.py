"""Where an artifact comes from: digests of code and files, and one record per artifact. Never imports torch.

The record of `folder/name` is `folder/.lineage/name.json`; it travels with the folder.
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).parents[2]
PLUMBING = {
    "engram.job.arguments",
    "engram.job.guard",
    "engram.job.ledger_entry",
    "engram.job.lineage",
    "engram.job.progress",
    "engram.job.schema_checks",
    "engram.job.schemas",
}  # change no number: rerun nothing. Schemas check tables; one that no longer fits is refused where it is read
WRITER = LIBRARY / "engram" / "job" / "io.py"  # every artifact goes through it, behind engram.job.arguments
PACKAGES = (
    "matplotlib",
    "nltk",
    "numpy",
    "pandas",
    "pyarrow",
    "safetensors",
    "scikit-learn",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
)


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


@cache
def _parsed(path: Path) -> tuple[tuple[Path, ...], str]:
    """The library modules that a file imports, and its syntax tree without docstrings, as text."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    modules = [LIBRARY / name.replace(".", "/") for name in set(_imports(tree)) - PLUMBING]
    files = [
        file for module in modules for file in (module.with_suffix(".py"), module / "__init__.py") if file.exists()
    ]
    return tuple(files), tree_text(text)


def tree_text(code: str) -> str:
    """The syntax tree of a file of code, without docstrings, as text."""
    return ast.dump(_without_docstrings(ast.parse(code)))


def code_files(*roots: str) -> tuple[tuple[Path, str], ...]:
    """The roots, the writer and all library modules they import, each with its syntax tree (no docstrings) as text."""
    todo, seen = [Path(root).resolve() for root in (*roots, str(WRITER))], dict[Path, str]()
    while todo:
        path = todo.pop()
        if path not in seen:
            files, seen[path] = _parsed(path)
            todo += files
    return tuple(sorted(seen.items()))


def code_digest(*roots: str) -> str:
    """Hash of the roots and all they import from the library; comments, docstrings and the folder do not count."""
    text = "".join(sorted(f"{path.name}\n{dump}\n" for path, dump in code_files(*roots)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def modules(*roots: str) -> dict[str, str]:
    """The files that the code digest of the roots covers, from `workflow` on, each with a hash of its own: what a
    change of code is named by.
    """
    return {from_workflow(path): text_digest(dump) for path, dump in code_files(*roots)}


def text_digest(dump: str) -> str:
    """Hash, 12 hexadecimal digits, of the text of a syntax tree."""
    return hashlib.sha256(dump.encode()).hexdigest()[:12]


def from_workflow(path: Path) -> str:
    """The path of a file of code in the repository; its name, if it lies elsewhere."""
    start = max((i for i, part in enumerate(path.parts) if part == "workflow"), default=len(path.parts) - 1)
    return "/".join(path.parts[start:])


def code_roots(script: Path | str, method: dict[str, Any] | None) -> list[str]:
    """The script, and the file of the method that its settings hold (`name`, and `method` if the file has another
    name): it is loaded by name, so no import shows it.
    """
    names = [method.get("method", method["name"]).replace("-", "_")] if method else []
    return [str(script), *(str(LIBRARY / "engram" / "methods" / f"{name}.py") for name in names)]


def sha256(path: Path | str) -> str:
    """Hash of a file's bytes, 64 hexadecimal digits. OSError if it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def packages() -> dict[str, str]:
    """Versions of the installed packages that can change a number or a byte; `absent` for one that is not there."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


def record_path(artifact: Path | str) -> Path:
    """The file that holds the lineage record of an artifact: .lineage/<its name>.json in its folder."""
    artifact = Path(artifact)
    return artifact.parent / ".lineage" / f"{artifact.name}.json"


def seal(record: dict[str, Any]) -> dict[str, Any]:
    """The record with `digest`, a hash of all its other keys, so that an edited record shows."""
    body = {key: value for key, value in record.items() if key != "digest"}
    return body | {"digest": hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()}


def unsealed(text: str) -> dict[str, Any] | None:
    """What a sealed text holds; None if it does not carry its own digest."""
    try:
        record = json.loads(text)
        return record if record == seal(record) else None
    except (ValueError, AttributeError):
        return None


def record_text(record: dict[str, Any]) -> str:
    """A lineage record as the text of its file, sealed with its digest."""
    return json.dumps(seal(record), indent=1, sort_keys=True) + "\n"
