"""Shared by all tests: `from toy import lm` works everywhere; one thread, because several tests may run at once."""

import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent

sys.path[:0] = [
    str(path)
    for path in (
        HERE / "support",
        *sorted({file.parent for file in HERE.rglob("test_*.py") if not (file.parent / "conftest.py").exists()}),
    )
]

torch.set_num_threads(1)

from fake_tables import drawn, fakes, runner  # noqa: E402, F401  fixtures of the items' tests
from sandboxes import built, library, sandbox  # noqa: E402, F401  fixtures of a copy of the workflow
