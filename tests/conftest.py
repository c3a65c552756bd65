"""Shared by all tests: what lies in tests/support can be imported, and computing takes one thread."""

import torch

from fake_tables import drawn, fakes, runner  # noqa: F401
from sandboxes import built, library, sandbox  # noqa: F401

torch.set_num_threads(1)
