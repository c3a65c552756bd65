"""Precisions: a cast model is the loaded one, errors have the size of the precision, TF32 needs a GPU."""

from dataclasses import replace

import pytest
import torch

import toy
from engram.model import precision
from engram.tracing import causal_trace
from traced_prompts import CONFIG, NOISE, table


@pytest.mark.parametrize("kind", toy.ARCHITECTURES)
def test_precisions_agree_with_float64_as_well_as_they_can(kind):
    """float32 to 1e-5; bfloat16, with 8 bits, to 0.1 on a random model whose probabilities are up to 0.5."""
    lm, scores = toy.lm(kind, std=0.2), {}
    for name in ("float32", "bfloat16", "float64"):
        scores[name], _prompts = causal_trace.trace(lm, table(lm).head(2), NOISE, replace(CONFIG, precision=name), 2, 0)
    errors = {name: (found["score"] - scores["float64"]["score"]).abs().max() for name, found in scores.items()}
    assert 0 < errors["float32"] < 1e-5 < errors["bfloat16"] < 0.1
    assert lm.model.dtype == torch.float32 and next(lm.model.parameters()).dtype == torch.float32


@pytest.mark.parametrize("kind", toy.ARCHITECTURES)
def test_a_cast_model_is_what_loading_in_that_precision_gives(kind, tmp_path):
    from transformers import AutoModelForCausalLM

    lm, ids = toy.lm(kind), torch.arange(7)[None]
    lm.model.save_pretrained(tmp_path)
    for name in ("bfloat16", "float64"):
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=precision.PRECISIONS[name]).eval()
        with precision.at(lm, name) as cast, torch.inference_mode():
            assert torch.equal(cast.model(ids).logits, loaded(ids).logits), name
            assert cast.model.get_output_embeddings().weight.dtype == precision.PRECISIONS[name]


def test_tf32_needs_a_gpu_and_leaves_no_trace():
    with pytest.raises(ValueError, match="only a CUDA device has; this one is cpu"), precision.at(toy.lm(), "tf32"):
        pass
    with pytest.raises(ValueError, match="should be 'float32', 'tf32'"):
        replace(CONFIG, precision="float16")
    assert not torch.backends.cuda.matmul.allow_tf32
