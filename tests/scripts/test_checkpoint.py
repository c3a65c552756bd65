"""Stages with a model hold it to its manifest: no script computes with weights that were exchanged since."""

import ast
import json

import pytest
import torch

import published
from command_lines import parse_call
from engram.settings import trace_variants
from repository import ROOT, module_of
from shipped_params import PARAMS

HERE = ("train", "convert", "checkpoint")  # make a model, or say what it is
SCRIPTS = [
    path
    for path in sorted((ROOT / "workflow/scripts").glob("*.py"))
    if "engram.model" in path.read_text() and path.stem not in HERE
]


def names_of(script, kind):
    """The inputs, outputs or keys that a script declares."""
    call = ast.parse(parse_call(script), mode="eval").body
    return next((ast.literal_eval(word.value) for word in call.keywords if word.arg == kind), [])


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory):
    """A folder whose weights are others than those of the manifest beside it."""
    base = tmp_path_factory.mktemp("exchanged")
    folder = published.copy_of("gpt2", base / "x")
    manifest = published.manifest(base, {"hub": str(folder), "revision": "main"})
    published.change(folder, published.other_values)
    return folder, manifest


def test_these_are_the_stages_with_a_model():
    assert {path.stem for path in SCRIPTS} == {
        *("known", "sampled", "noise", "prefixes", "covariance", "trace", "gradients", "targets", "hypernet", "edit")
    }


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("made", [False, True], ids=["published", "made here"])
def test_every_stage_refuses_exchanged_weights_and_names_the_file(script, made, exchanged, tmp_path):
    folder, manifest = exchanged
    (tmp_path / "nothing").touch()
    inputs = {name.rstrip("*?"): tmp_path / "nothing" for name in names_of(script, "inputs") if name[-1] not in "*?"}
    inputs |= {"manifest": manifest} | ({"weights": folder / published.WEIGHTS} if made else {})
    outputs = {name: tmp_path / "made" / name for name in names_of(script, "outputs")}
    words = dict.fromkeys(names_of(script, "keys"), "1") | inputs | outputs
    block = {"name": "x"} | ({} if made else {"hub": str(folder), "revision": "main"})
    sections = {"trace": trace_variants.section(PARAMS["trace"], "main"), "gradients": PARAMS["gradients"]}
    config = {"seed": 0, "run": published.RUN, "model": block} | sections
    argv = [str(part) for name, value in words.items() for part in (f"--{name}", value)]
    try:
        with pytest.raises(ValueError, match=r"model x: \S+/x/model\.safetensors has other bytes than its manifest"):
            module_of(script).main([*argv, "--config", json.dumps(config)])
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(1)
    assert not (tmp_path / "made").exists()


def test_a_model_that_cannot_be_computed_with_has_no_manifest(tmp_path):
    folder = published.copy_of("gpt2", tmp_path / "x")
    published.change(folder, lambda state: state["transformer.ln_f.weight"].fill_(float("nan")))
    with pytest.raises(ValueError, match=r"model x: weights that are not finite, in transformer\.ln_f\.weight;"):
        published.manifest(tmp_path / "made", {"hub": str(folder), "revision": "main"})
    assert not (tmp_path / "made").exists()
