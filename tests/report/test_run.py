"""What the report reads of a run: every model's own files."""

import pytest

from engram.report import run
from engram.settings import params


@pytest.mark.parametrize("model", ["mini", "cf500", "cf20k", "gpt2-xl", "gpt-j-6b", "gpt-neox-20b"])
def test_every_model_has_files_to_show(finished, model):
    values = params.load("params.yaml")
    found = run.Run(finished.root, values, model, {})
    assert found.item_file("rome/fig7_lines", "csv").as_posix() == f"figures/{model}/rome/fig7_lines.csv"
    assert found.trace["effects"].as_posix() == f"results/trace/{model}/main/effects.parquet"
    assert {"rome", "none"} <= set(found.edits["counterfact"])
    settings = found.settings()
    assert list(settings["models"]) == [model] and model in settings["methods"]["rome"]
    assert not {name for block in settings["methods"].values() for name in set(block) & set(values["models"])} - {model}
