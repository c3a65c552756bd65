"""A model is written as the files that an ordinary folder has, whatever its size and its tokenizer's chat."""

from types import SimpleNamespace

import torch

import toy
from engram.job import arguments, lineage
from engram.model import loading, saving
from repository import ROOT


def test_the_folder_is_the_model_with_records_and_nothing_else(tmp_path):
    lm, folder = toy.lm("llama"), tmp_path / "made" / "x"
    lm.tokenizer.chat_template = "{{ messages }}"
    try:
        outputs = SimpleNamespace(**{name: folder / file for name, file in saving.FILES.items()})
        none = SimpleNamespace()
        saving.write(
            arguments.Job(ROOT / "workflow/scripts/convert.py", [], {}, none, outputs, none), lm.model, lm.tokenizer
        )
    finally:
        lm.tokenizer.chat_template = None
    assert {path.name for path in folder.iterdir()} == {*saving.FILES.values(), ".lineage"}
    assert [path.name for path in folder.parent.iterdir()] == ["x"], "what is written on the way is removed"
    assert all(lineage.record_path(path).exists() for path in vars(outputs).values())
    again = loading.load("x", folder)
    assert again.tokenizer.chat_template == "{{ messages }}"
    for name, tensor in lm.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
