"""Where the repository lies, and its scripts as modules."""

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "workflow"


def module_of(path: Path) -> ModuleType:
    """The script at `path`, executed as a new module of its own."""
    spec = importlib.util.spec_from_file_location("_".join(path.relative_to(WORKFLOW).with_suffix("").parts), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
