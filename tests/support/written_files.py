"""A small table, and artifacts written as a stage writes them."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from engram.job import arguments

FRAME = pd.DataFrame({"a": [1, 2], "text": ["x", "y"]})


def artifact(path: Path, value) -> Path:
    """A file with its lineage record, as a stage writes it."""
    Path("maker.py").write_text("")
    made = arguments.Job(
        Path("maker.py"), ["maker.py"], {}, SimpleNamespace(), SimpleNamespace(out=path), SimpleNamespace()
    )
    made.write("out", value)
    return path
