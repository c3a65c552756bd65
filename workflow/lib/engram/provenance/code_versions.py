"""Which code made an artifact: the modules that its lineage record names, beside those here and those of a git commit.

A module is a path from `workflow` on, with the hash of its syntax tree without docstrings (`code_digest.modules`).
"""

from functools import cache
from pathlib import Path

from engram.job import code_digest, ledger_entry


def differing(record: dict, now: dict[str, str]) -> list[str]:
    """Modules whose code is not what a record of lineage names, as `path (changed)`, `(new)` or `(no longer used)`;
    none if the record names no modules. `now`: module -> hash, as `code_digest.modules` gives them for the code here.
    """
    before = record.get("modules")
    if before is None:
        return []
    words = {
        name: "new" if name not in before else "no longer used" if name not in now else "changed"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    }
    return [f"{name} ({word})" for name, word in words.items()]


@cache
def at_commit(root: Path | str, commit: str) -> dict[str, str] | None:
    """Files of Python below `workflow` at a commit -> the git object that holds each; None if the commit is not
    here.
    """
    text = ledger_entry.git(
        "ls-tree", "-r", "-z", "--format=%(objectname) %(path)", commit, "--", "workflow", root=root
    )
    if text is None:
        return None
    rows = (row.split(" ", 1) for row in text.split("\0") if row.endswith(".py"))
    return {path: name for name, path in rows}


@cache
def _hash_of_object(root: Path | str, name: str) -> str:
    return code_digest.text_digest(code_digest.tree_text(ledger_entry.git("cat-file", "blob", name, root=root) or ""))


def not_of_commit(root: Path | str, commit: str, modules: dict[str, str]) -> list[str] | None:
    """Those of the modules (path -> hash) that a commit does not have, or has otherwise; None without the commit."""
    committed = at_commit(root, commit)
    if committed is None:
        return None
    return [
        path
        for path, digest in modules.items()
        if path not in committed or _hash_of_object(root, committed[path]) != digest
    ]


def uncommitted(root: Path | str) -> set[str]:
    """Modules below `workflow` here whose code HEAD does not have, or has otherwise, by their paths. Empty without git
    or a commit.
    """
    head = ledger_entry.git("rev-parse", "HEAD", root=root)
    if head is None:
        return set()
    changed = [
        ledger_entry.git("diff", "--name-only", "--relative", "-z", "HEAD", "--", "workflow", root=root),
        ledger_entry.git("ls-files", "--others", "--exclude-standard", "-z", "--", "workflow", root=root),
    ]
    paths = [path for text in changed for path in (text or "").split("\0") if path.endswith(".py")]
    here = {
        path: code_digest.text_digest(code_digest.tree_text((Path(root) / path).read_text(encoding="utf-8")))
        for path in paths
        if (Path(root) / path).is_file()
    }
    return set(not_of_commit(root, head.strip(), here) or [])
