"""Write docs/packages.md: what each package is for, and which imports which, from the code itself.

python docs/packages.py            write the page
python docs/packages.py --check    status 1 if the page is not what would be written
"""

import argparse
import ast
import re
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/packages.md"
LIBRARY = ROOT / "workflow/lib/engram"
OUTSIDE = {  # what uses the library: node of the picture -> its files
    "rules": "workflow/rules/*.smk",
    "scripts": "workflow/scripts/*.py",
    "figures": "workflow/figures/*/*.py",
}
HEAD = """# Packages

Written by `python docs/packages.py` from the docstrings and imports of the code; a test holds it current. What may
import what is said by the contracts in `pyproject.toml`, which `lint-imports` checks.
"""
PICTURE = """
An arrow leads from a package to what uses it: the way of the data, from `params.yaml` to the page. Rules, scripts and
figures are files of `workflow/`, which hand the paths in. An arrow that follows from others is left out of the picture;
the table has them all. The editors in `methods` are loaded by name, by `engram.settings.methods`: no import shows it.
"""


def layers() -> list[str]:
    """The packages in the order of the data, as the contract on layers has them: settings first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (names,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return [name.strip().removeprefix("engram.") for layer in reversed(names) for name in layer.split("|")]


def imports() -> set[tuple[str, str]]:
    """Pairs (user, used): a package, or one of OUTSIDE, and another package from which it imports something."""
    graph = grimp.build_graph("engram", cache_dir=None)
    inside = {
        (importer.split(".")[1], imported.split(".")[1])
        for importer in graph.modules - {"engram"}
        for imported in graph.find_modules_directly_imported_by(importer) - {"engram"}
    }
    outside = {
        (node, package)
        for node, pattern in OUTSIDE.items()
        for file in ROOT.glob(pattern)
        for package in re.findall(r"^\s*(?:from|import) engram\.(\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    return {(user, used) for user, used in inside | outside if user != used}


def reachable(edges: set[tuple[str, str]], start: str) -> set[str]:
    """What `start` uses, itself or through others; `start` is among it only if the packages form a circle."""
    seen, todo = set(), [start]
    while todo:
        here = todo.pop()
        following = {used for user, used in edges if user == here} - seen
        seen |= following
        todo += following
    return seen


def not_implied(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The edges that do not follow from others (the transitive reduction). ValueError for edges that form a circle."""
    nodes = {node for edge in edges for node in edge}
    if circle := sorted(node for node in nodes if node in reachable(edges, node)):
        raise ValueError(f"packages that use each other in a circle: {', '.join(circle)}")
    through = {node: reachable(edges, node) for node in nodes}
    return {(a, b) for a, b in edges if not any(b in through[c] for first, c in edges if first == a)}


def page() -> str:
    """The page as text."""
    order, edges = layers(), imports()
    nodes = [*order, *OUTSIDE]
    arrows = sorted(not_implied(edges), key=lambda edge: (nodes.index(edge[1]), nodes.index(edge[0])))
    columns = [name for name in order if any(used == name for _, used in edges)]
    return "\n".join(
        [
            HEAD,
            "| package | idea |",
            "| --- | --- |",
            *(f"| [`{name}`](../workflow/lib/engram/{name}) | {idea(name)} |" for name in order),
            PICTURE,
            "```mermaid",
            "flowchart LR",
            *(f"    {name}[/workflow/{name}/]" for name in OUTSIDE),
            *(f"    {used} --> {user}" for user, used in arrows),
            "```",
            "",
            f"| … imports | {' | '.join(columns)} |",
            f"| --- |{' :---: |' * len(columns)}",
            *(
                f"| `{user}` | {' | '.join('×' if (user, used) in edges else '' for used in columns)} |"
                for user in nodes
            ),
            "",
        ]
    )


def idea(package: str) -> str:
    """The first paragraph of a package's docstring, on one line."""
    tree = ast.parse((LIBRARY / package / "__init__.py").read_text(encoding="utf-8"))
    return " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())


def main() -> int:
    """Write the page, or compare it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if the page is not current")
    if parser.parse_args().check:
        current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == page()
        print(f"docs/packages.md: {'current' if current else 'not current; run python docs/packages.py'}")
        return int(not current)
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
