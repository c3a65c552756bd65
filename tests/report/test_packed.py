"""Probabilities packed into two bytes: rounding and gaps."""

import base64

import numpy as np
import pytest

from engram.report import packed


def test_rounding_and_gaps():
    values = np.append(np.random.default_rng(0).random(1000), [0, 1, np.nan])
    kept = np.frombuffer(base64.b64decode(packed.probabilities(values)), dtype="<u2")
    assert (
        kept[-1] == packed.NOTHING and (kept[:-1] <= packed.STEPS).all() and kept[-3] == 0 and kept[-2] == packed.STEPS
    )
    assert np.abs(kept[:-1] / packed.STEPS - values[:-1]).max() <= 0.5 / packed.STEPS + 1e-12
    with pytest.raises(ValueError, match=r"1.5"):
        packed.probabilities([0.5, 1.5])
