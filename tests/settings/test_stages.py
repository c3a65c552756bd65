"""Which jobs the items of a model ask for."""

import pytest

from engram.settings import items, stages, sweeps
from shipped_params import MINI, PARAMS


def wanted(**paper: dict) -> dict:
    return stages.wanted(
        MINI | {"paper": {f"p/{name}": {"kind": "figure"} | spec for name, spec in paper.items()}}, "mini"
    )


def test_every_stage_of_the_default_run_has_jobs():
    """All but those of what lies outside: the world is generated, with a text, and the model is trained."""
    outside = ("fetch", "convert", "sampled")
    assert list(stages.wanted(MINI, "mini")) == [stage for stage in stages.STAGES if stage not in outside]


def test_nothing_is_made_that_no_item_reads():
    assert wanted() == {}
    assert list(wanted(i={"from": ["published"]})) == ["paper"]
    assert list(wanted(i={"from": ["dataset"]})) == ["dataset", "paper"]
    found = wanted(i={"from": ["trace"], "variants": ["uniform"]})
    assert list(found) == ["dataset", "train", "checkpoint", "known", "noise", "trace", "paper"]
    assert found["trace"] == [{"variant": "uniform"}] and found["noise"] == [{"corruption": "us3"}]
    assert found["paper"] == [{"paper": "p", "item": "i"}]


def test_gradients_are_of_traced_prompts():
    found = wanted(i={"from": ["gradients"]})
    assert found["trace"] == [{"variant": "main"}] and found["gradients"] == [{}]


@pytest.mark.parametrize(
    ("method", "needs"),
    [("none", []), ("ft", []), ("rome", ["prefixes", "covariance", "targets"]), ("mend", ["hypernet"])],
)
def test_an_edit_needs_what_its_method_needs(method, needs):
    spec = {"dataset": "counterfact", "methods": [method], "n": 1}
    found = wanted(i={"from": ["edit"]} | spec)
    made = set(found) - {"dataset", "train", "checkpoint", "known", "paper"}
    assert made == {*needs, "edit"}, "no metrics that no item reads"
    assert "evaluate" in wanted(i={"from": ["records"]} | spec)


def test_a_published_model_is_not_trained_and_reads_original_files():
    seen = sweeps.expanded(items.seen(PARAMS | {"run": PARAMS["run"] | {"models": ["gpt2-xl"]}}, "gpt2-xl"))
    found = stages.wanted(seen, "gpt2-xl")
    assert "train" not in found and {"name": "idf.npy"} in found["fetch"]
    seen["paper"] = {"rome/fig2": {"kind": "figure", "from": ["trace"]}}
    assert {"name": "idf.npy"} not in stages.wanted(seen, "gpt2-xl")["fetch"], "no texts are evaluated"
