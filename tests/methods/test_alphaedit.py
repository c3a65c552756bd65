"""AlphaEdit: no change on the directions that text uses."""

import pytest
import torch

from closed_form_oracles import FACTS, KINDS, LAYERS, SETTINGS, aids_of
from engram.methods import alphaedit
from toy import lm


@pytest.mark.parametrize("kind", KINDS)
def test_alphaedit_leaves_what_text_uses_alone(kind):
    """ΔW vanishes on every direction of C above the threshold, and nowhere near vanishes below it."""
    model = lm(kind, torch.float64)
    aids, settings = aids_of(model), SETTINGS["alphaedit"]
    delta = alphaedit.edit(model, FACTS, settings, aids)
    for layer in LAYERS:
        values, vectors = torch.linalg.eigh(aids.moments[layer].mean)
        change = delta.dense(layer) @ vectors
        kept = values >= settings.threshold
        assert 0 < kept.sum() < len(values)
        assert change[:, kept].norm() < 1e-12 * change.norm() and change[:, ~kept].norm() > 0.99 * change.norm()
