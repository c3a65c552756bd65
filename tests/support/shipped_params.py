"""params.yaml as it is shipped, and how many rows the default run has."""

import yaml

from engram.settings import items, sweeps
from repository import ROOT

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
MINI, GPTJ = (sweeps.expanded(items.seen(PARAMS, model)) for model in ("mini", "gpt-j-6b"))
ROWS = {"facts": 1600, "zsre": 1600, "prompts": 1600, "text": 1000}
