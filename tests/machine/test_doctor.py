"""`engram doctor`: what is missing is said with what to do; the estimates have the right size."""

import shutil

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config

from engram.machine import devices, doctor, estimate, external_inputs
from engram.settings import items, sweeps
from repository import ROOT
from toy import lm

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
MINI, GPTJ = (sweeps.expanded(items.seen(PARAMS, model)) for model in ("mini", "gpt-j-6b"))
ROWS = {"facts": 1600, "zsre": 1600, "prompts": 1600, "text": 1000}
FILES = [
    "counterfact.json",
    "zsre_mend_eval.json",
    "known_1000.json",
    "wikipedia.jsonl",
    "attribute_snippets.json",
    "idf.npy",
    "tfidf_vocab.json",
]


@pytest.fixture
def patient(sandbox, monkeypatch):
    shutil.copy(ROOT / "requirements.lock", sandbox.path / "requirements.lock")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(sandbox.path.parent / "hub"))
    monkeypatch.delenv("ENGRAM_DATA_DIR", raising=False)
    return sandbox


def test_the_default_run_can_start(patient):
    text = patient.run("engram", "doctor").stdout
    assert "fails" not in text and "to be built: nothing" in text and text.endswith("the run can start\n")
    patient.edit("params.yaml", "samples: 10", "samples: 11")
    assert "to be built: 5 trace, " in patient.run("engram", "doctor").stdout
    patient.edit("params.yaml", "samples: 11", "smaples: 11")
    assert "did you mean `samples`?" in patient.run("engram", "doctor", ok=False).stdout


def test_what_a_published_model_lacks(patient, monkeypatch):
    patient.edit("params.yaml", "models: [mini]", "models: [gpt2-xl]")
    text = patient.run("engram", "doctor", ok=False).stdout
    missing = ["checkpoint openai-community/gpt2-xl, revision main", *FILES]
    assert all(f"{name}: not here" in text for name in missing)
    assert text.count("fails ") == len(missing) + (not torch.cuda.is_available()) == text.count("-> ")
    assert torch.cuda.is_available() or "no GPU: on this CPU the run would take about" in text
    assert "7 fetch" in text and "the papers read 100,000" not in text
    given = patient.path.parent / "given"
    given.mkdir()
    for name in FILES[:3]:
        (given / name).write_text("whatever")
    (given / "wikipedia").mkdir()
    monkeypatch.setenv("ENGRAM_DATA_DIR", str(given))
    text = patient.run("engram", "doctor", ok=False).stdout
    assert [name for name in FILES if f"{name}: in {given}" in text] == FILES[:4]
    assert [name for name in FILES if f"{name}: not here" in text] == FILES[4:]


def test_articles_are_those_there_are_and_fewer_than_published_are_said(tmp_path):
    xl = sweeps.expanded(items.seen(PARAMS, "gpt2-xl"))
    fewer = xl | {"covariance": xl["covariance"] | {"articles": 10}}
    said = [
        check.found for check in doctor.needs(fewer, "gpt2-xl", {"HF_HUB_OFFLINE": "1"}) if check.word == doctor.NOTE
    ]
    assert "covariance.articles is 10; the papers read 100,000" in said
    (tmp_path / "some.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    sources = PARAMS["sources"] | {"cf500": PARAMS["sources"]["cf500"] | {"path": str(tmp_path), "text": "some.jsonl"}}
    rows = {
        model: external_inputs.rows(PARAMS | {"sources": sources}, model)["text"]
        for model in ("mini", "cf500", "gpt2-xl")
    }
    assert rows == {"mini": 1000, "cf500": 2, "gpt2-xl": 100_000}
    shape = estimate.shape_of(PARAMS["models"]["mini"])
    every, few = (
        estimate.costs(values, "mini", shape, ROWS)["covariance"].flop
        for values in (MINI, MINI | {"covariance": MINI["covariance"] | {"articles": 10}})
    )
    assert every == pytest.approx(100 * few)


def test_a_local_folder_that_is_not_there(patient):
    patient.edit("params.yaml", "models: [mini]", "models: [cf500]")
    patient.edit("params.yaml", "path: ../shared/data", "path: ../elsewhere")
    text = patient.run("engram", "doctor", ok=False).stdout
    assert "../elsewhere/counterfact_500.json: not there" in text and "put it there" in text
    assert "MissingInputException" in text, "and Snakemake says so too"


def test_versions_that_differ_from_the_lock(tmp_path):
    lock = tmp_path / "lock"
    lock.write_text(f"torch=={torch.__version__.split('+')[0]}\npandas==0.1\nno-such-package==1.0\n")
    found = doctor.versions(lock)
    assert found.word == doctor.FAILS and "torch" not in found.found and "make setup" in found.advice
    assert "locked 0.1" in found.found and "no-such-package not installed, locked 1.0" in found.found


def test_too_little_memory_or_disk(monkeypatch):
    plan = doctor.plan(GPTJ, "gpt-j-6b")
    small, large = (devices.Device("cuda", "a GPU", 4e13, size * 2**30, 4 * size * 2**30) for size in (16, 140))
    words = {
        name: [check.word for check in doctor._fits(GPTJ, "gpt-j-6b", plan, device)]
        for name, device in {"small": small, "large": large}.items()
    }
    assert words == {"small": [doctor.FAILS], "large": [doctor.OK]}
    several = GPTJ | {"models": GPTJ["models"] | {"gpt-j-6b": GPTJ["models"]["gpt-j-6b"] | {"devices": "auto"}}}
    assert [check.word for check in doctor._fits(several, "gpt-j-6b", plan, small)] == [doctor.OK]
    half = GPTJ | {"models": GPTJ["models"] | {"gpt-j-6b": GPTJ["models"]["gpt-j-6b"] | {"dtype": "bfloat16"}}}
    assert plan.memory - doctor.plan(half, "gpt-j-6b").memory == 2 * plan.shape.parameters
    assert doctor._disk(PARAMS, {"gpt-j-6b": plan}).word == doctor.OK or shutil.disk_usage(".").free < 2**37
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 2**30))
    assert doctor._disk(PARAMS, {"gpt-j-6b": plan}).word == doctor.FAILS


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
