"""Optimising a value: one that diverges is named with its fact."""

from types import SimpleNamespace

import pytest
import torch

from engram.editing.values import descent
from engram.settings.objective import Settings


def test_a_value_that_diverges(monkeypatch):
    found = [descent.Optimised(torch.zeros(1), torch.zeros(1), [[1.0], [float("nan")]])]
    monkeypatch.setattr(descent, "batch_of", lambda *args: None)
    monkeypatch.setattr(descent, "descend", lambda *args: found)
    work = SimpleNamespace(fact=SimpleNamespace(case_id=7))
    with pytest.raises(ValueError, match=r"fact 7 diverged: after 2 steps its loss is nan; lower the rate, 0.5,"):
        descent.optimised(None, [work], SimpleNamespace(settings=Settings(layer=0)))
