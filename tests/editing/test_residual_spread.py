"""Residuals spread over layers: MEMIT and PMET against plain forwards, dense matrices and an inverse."""

import pytest
import torch

from closed_form_oracles import FACTS, KINDS, LAYERS, SETTINGS, aids_of, slow_memit
from engram.editing import editor, subject_keys
from engram.methods import memit
from toy import lm


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "share", "site"), [("memit", lambda n: 1 / n, "block"), ("pmet", lambda n: n**-0.5, "mlp")]
)
def test_spreading_over_layers_agrees_with_plain_forwards(kind, name, share, site):
    model = lm(kind, torch.float64)
    aids = aids_of(model)
    delta = editor.load(name).edit(model, FACTS, SETTINGS[name], aids)
    slow = slow_memit(
        model, FACTS, aids, LAYERS, share, site, lambda layer, k: 0.5 * aids.moments[layer].mean + k.T @ k
    )
    assert list(delta.parts) == list(LAYERS)
    for layer in LAYERS:
        assert torch.allclose(delta.dense(layer), slow[layer], atol=1e-8 * float(slow[layer].abs().max()))


def test_batches_of_rows_and_memory_do_not_matter(monkeypatch):
    model = lm("gpt2", torch.float64)
    aids = aids_of(model)
    delta = memit.edit(model, FACTS, SETTINGS["memit"], aids)
    whole = subject_keys.keys_at
    monkeypatch.setattr(subject_keys, "keys_at", lambda *args: whole(*args[:3], *(args[3:] or (None,)), 1))
    alone = memit.edit(model, FACTS, SETTINGS["memit"], aids)
    for layer in LAYERS:
        assert torch.allclose(delta.dense(layer), alone.dense(layer), rtol=1e-9, atol=1e-12)
