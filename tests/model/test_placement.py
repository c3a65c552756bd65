"""A model spread over devices: what it needs, and that calls there and back change nothing."""

from dataclasses import replace

import pytest
import torch

import toy
from engram.editing import outcomes
from engram.editing.tuning import batched_finetune, finetune
from engram.editing.values import targets
from engram.model import batches, loading, placement
from engram.model.delta import applied
from engram.tracing import causal_trace
from evaluated_records import RECORDS, config, deltas
from probed_models import CONTEXTS, FACT, job_of
from toy import loaded
from traced_prompts import CONFIG, NOISE, table_of


def test_spreading_over_gpus_needs_accelerate_and_gpus(monkeypatch):
    job = job_of(toy._folder("llama").name, devices="auto")
    monkeypatch.setattr(placement, "is_accelerate_available", lambda: False)
    with pytest.raises(
        ImportError, match=r"model x: `devices: auto` needs the package accelerate.*pip install accelerate"
    ):
        loading.open_lm(job, "cuda")
    monkeypatch.setattr(placement, "is_accelerate_available", lambda: True)
    with pytest.raises(ValueError, match="spreads it over GPUs, not over a cpu"):
        loading.open_lm(job, "cpu")
    assert placement.spread_options("x", "cuda") == {"device_map": "auto"}


@pytest.mark.parametrize("kind", ["gpt2", "gptj", "llama", "gemma2", "opt"])
def test_modules_that_call_there_and_back_change_nothing(kind):
    """As in a model on several devices, where one is all there is: not a bit of a trace, a value, a score, a text or an
    edit differs, copies of the model stay apart, and its weights can be exchanged.
    """
    found = []
    for away in (False, True):
        model = loaded(kind)
        for module in model.model.modules() if away else ():
            if module._parameters and model.module("embed") is not module:
                placement.call_from(module, torch.device("cpu"))
        placement.keep_states_home(model.model)
        effects, _ = causal_trace.trace(
            model, table_of(model), NOISE, replace(CONFIG, samples=2, precision="bfloat16"), 2, 0
        )
        value = targets.optimise(model, [FACT], list(CONTEXTS), targets.Settings(layer=1, steps=3, rate=0.1)).value
        tuned = batched_finetune.tune_each(
            model, [FACT], finetune.value_names(model, 1)[:1], finetune.Settings(layer=1, steps=2)
        )
        again = finetune.tune(model, [FACT], finetune.value_names(model, 1)[:1], finetune.Settings(layer=1, steps=2))
        tables = outcomes.outcomes(
            model, RECORDS, [deltas(model)[0], tuned[0], again], "counterfact", config(), ("key",)
        )
        with applied(batches.twin(model), again):
            assert torch.equal(model.value_weight(1), loaded(kind).value_weight(1))
        found.append((effects, tables["scores"], tables["texts"], tables["norms"], value))
    assert all(one.equals(other) for one, other in zip(found[0][:4], found[1][:4])) and torch.equal(
        found[0][4], found[1][4]
    )
