"""The command line of a script or an item, read from its code."""

import ast
from pathlib import Path

OUTPUTS = {"items.figure": ["pdf", "png", "csv"], "items.table": ["csv", "md"]}  # of engram.drawing.items


def parse_call(script: Path) -> str:
    """The call of arguments.parse that a script makes, or that engram.drawing.items makes for it, as code."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if called == "arguments.parse":
            return ast.unparse(node)
        if called in OUTPUTS:
            inputs = ast.unparse(node.args[3])
            return (
                f"arguments.parse(__file__, __doc__, argv, inputs={inputs}, outputs={OUTPUTS[called]}, keys=['model'])"
            )
    raise ValueError(f"{script}: no command line")
