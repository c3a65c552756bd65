"""Estimates: shapes of models, operations as torch counts them, bytes of artifacts."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config

from engram.machine import estimate, external_inputs
from shipped_params import MINI, PARAMS, ROWS
from toy import lm


def test_the_shape_of_a_checkpoint(tmp_path):
    """By its configuration; a folder that save_pretrained wrote is a checkpoint that is here."""
    toy = lm("gpt2")
    block = {"hub": str(tmp_path / "model"), "revision": "main"}
    assert not external_inputs.checkpoint(block)
    toy.model.save_pretrained(tmp_path / "model")
    assert external_inputs.checkpoint(block)
    shape = estimate.shape_of(block, external_inputs.configuration(block))
    counted = sum(p.numel() for p in toy.model.parameters() if p.ndim > 1)
    assert shape.parameters == counted
    for kind in ("gptj", "gpt_neox", "llama"):
        shape = estimate.shape_of(block, lm(kind).model.config.to_dict())
        counted = sum(p.numel() for p in lm(kind).model.parameters() if p.ndim > 1)
        assert shape.parameters == pytest.approx(counted, rel=0.25), kind  # Llama's gated MLP has three matrices
    xl = GPT2Config(n_embd=1600, n_layer=48, n_head=25).to_dict()
    published = {"hub": "openai-community/gpt2-xl"}
    assert estimate.shape_of(published, xl) == estimate.shape_of(published)
    assert estimate.shape_of({"hub": "nobody/knows"}) is None


def test_operations_are_those_that_torch_counts():
    toy = lm("gpt2", width=64)
    block = {"train": {"layers": toy.layers, "width": 64, "vocabulary": len(toy.tokenizer), "context": 64}}
    with FlopCounterMode(display=False) as counter:
        toy.model(torch.zeros(3, 20, dtype=torch.long))
    assert estimate.shape_of(block).forward(60, 60) == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_tracing_is_counted_restoration_by_restoration():
    """Against the sum over every token and layer that is restored."""
    values = MINI | {"trace": PARAMS["trace"] | {"variants": {"main": {}}}}
    shape = estimate.shape_of(PARAMS["models"]["mini"])
    length, layers = estimate.TOKENS["prompt"], shape.layers
    tokens = sum((layers - layer) * (length - token) for layer in range(layers) for token in range(length))
    each = 2 * (tokens * shape.block + length * layers * shape.width * shape.vocabulary)
    assert estimate.costs(values, "mini", shape, ROWS)["trace"].flop == pytest.approx(1000 * 10 * 3 * each, rel=0.25)


def test_disk_is_that_of_the_artifacts():
    """The covariance of `mini` has 8,389,504 bytes, its weights 7.1 million."""
    found = estimate.costs(MINI, "mini", estimate.shape_of(PARAMS["models"]["mini"]), ROWS)
    assert found["covariance"].disk == pytest.approx(8_389_504, rel=0.01)
    assert found["train"].disk == pytest.approx(7.1e6, rel=0.05)
