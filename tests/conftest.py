"""Shared by all tests: `from toy import lm` works everywhere; one thread, because several tests may run at once."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent / "support"))
torch.set_num_threads(1)
