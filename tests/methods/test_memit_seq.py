"""Editing in sequence: what was stored is remembered, and solved against."""

from dataclasses import replace

import pytest
import torch

from closed_form_oracles import FACTS, LAYERS, SETTINGS, aids_of, keys_of, slow_memit, weighted_key
from engram.editing import editor
from engram.methods import memit, memit_seq
from engram.model.delta import applied
from toy import lm


@pytest.mark.parametrize("name", ["alphaedit", "memit-seq"])
def test_what_was_stored_is_remembered_with_the_keys_of_the_edited_model(name):
    model, method = lm("gpt2", torch.float64), editor.load(name)
    aids = aids_of(model)
    first = method.edit(model, FACTS[:2], SETTINGS[name], aids)
    with applied(model, first):
        earlier = method.remember(model, FACTS[:2], SETTINGS[name], aids)
        for layer in LAYERS:
            keys = torch.stack([weighted_key(model, layer, fact) for fact in FACTS[:2]])
            assert torch.allclose(earlier[layer], keys.T @ keys, atol=1e-9)
        aids = replace(aids, earlier=earlier)
        second = method.edit(model, FACTS[2:], SETTINGS[name], aids)
        careless = method.edit(model, FACTS[2:], SETTINGS[name], replace(aids, earlier={}))
        after = method.remember(model, FACTS[2:], SETTINGS[name], aids)
        for layer in LAYERS:
            key = weighted_key(model, layer, FACTS[2])
            assert torch.allclose(after[layer], earlier[layer] + torch.outer(key, key), atol=1e-9)
            if layer == 0:  # the same keys in both
                assert (second.dense(0) @ keys_of(model, 0, FACTS[:2])).norm() < (
                    careless.dense(0) @ keys_of(model, 0, FACTS[:2])
                ).norm(), "the stored facts move less"


def test_memit_in_sequence_solves_against_stored_keys():
    model = lm("gpt2", torch.float64)
    aids = aids_of(model)
    aids = replace(aids, earlier=memit_seq.remember(model, FACTS[:1], SETTINGS["memit-seq"], aids))
    delta = memit_seq.edit(model, FACTS[1:], SETTINGS["memit-seq"], aids)
    slow = slow_memit(
        model,
        FACTS[1:],
        aids,
        LAYERS,
        lambda n: 1 / n,
        "block",
        lambda layer, k: 0.5 * aids.moments[layer].mean + aids.earlier[layer] + k.T @ k,
    )
    plain = memit.edit(model, FACTS[1:], SETTINGS["memit"], aids)
    for layer in LAYERS:
        assert torch.allclose(delta.dense(layer), slow[layer], atol=1e-8 * float(slow[layer].abs().max()))
        assert not torch.allclose(delta.dense(layer), plain.dense(layer), rtol=1e-3)
