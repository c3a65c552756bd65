"""Published editors: taken over they edit as they did; a file that could run code is refused."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import toy
from engram.editing import editor
from engram.editing.trained_editors import editors, factors, published_editors
from hypernets import FACTS, KINDS, close, delta_of, net_of, texts_of


def published_mend(lm, net):
    """`net` as a published file would hold it, by the names of the public code."""
    found = {"edit_lrs": -net.rates.data, "model_config": lm.model.config}
    for group, shared in net.nets.items():
        into, out = map(int, group.split("x"))
        there, seen = f"gtn.({into}, {out})", shared.statistics
        spread = (seen.square / (seen.count - 1)).sqrt()
        for name, values in (("mean", seen.mean), ("s", seen.square), ("std", spread)):
            found |= {f"{there}.u_{name}": values[:into].float(), f"{there}.v_{name}": values[into:].float()}
        found[f"{there}.k"] = seen.count.float()
        for index, layer in enumerate(shared.layers):
            at = f"{there}.mlp.layers.{index}"
            found |= {
                f"{at}.u": layer.up.data,
                f"{at}.v": layer.down.data,
                f"{at}.bias": layer.bias.data,
                f"{at}.mode_scale.weight": layer.scale.data,
                f"{at}.mode_shift.weight": layer.offset.data,
            }
    return found


def published_ke(lm, net):
    found = {"model_config": lm.model.config, "editor.condition.embedding.weight": net.reader.embedding.weight.data}
    found |= {f"editor.condition.lstm._module.{name}": value.data for name, value in net.reader.lstm.named_parameters()}
    found |= {
        f"editor.condition.linear._linear_layers.0.{name}": value.data
        for name, value in net.reader.linear.named_parameters()
    }
    for slot, conditioner in net.conditioners.items():
        for layer in (0, 2):
            at, inner = f"editor.conditioners.{slot}_conditioner.conditioners.{layer}", conditioner[layer]
            found |= {
                f"{at}.weight_g": inner.parametrizations.weight.original0.data,
                f"{at}.weight_v": inner.parametrizations.weight.original1.data,
                f"{at}.bias": inner.bias.data,
            }
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_published_editor_edits_as_it_did(kind, tmp_path):
    """Written by the names of the public code and read back: the same change; what does not fit is named."""
    lm = toy.lm("gpt2")
    net = net_of(lm, kind, moved=0.1, layers=3)
    if kind == "mend":
        batch = factors.batch_of(lm, texts_of(lm, FACTS), 3)
        net.train()(batch, factors.factors(lm, factors.maps(lm, 3), batch, 3))
    tensors = {"mend": published_mend, "ke": published_ke}[kind](lm, net)
    torch.save({"model": tensors, "step": 7}, tmp_path / "good.pt")
    loaded = published_editors.load(tmp_path / "good.pt", lm, kind)
    module = editor.load(kind)
    found = module.edit(lm, FACTS[:1], module.Settings(), SimpleNamespace(hypernet=loaded))
    wanted = delta_of(lm, kind, net, FACTS[:1])
    assert all(close(found.dense(name), wanted.dense(name), 1e-5) for name in wanted.parts)
    some = next(name for name in tensors if name.endswith("bias"))
    for change, message in (
        ({"more": torch.ones(1)}, r"has not: \['more'\]"),
        ({some: None}, "no tensor"),
        ({some: torch.ones(3)}, "has shape|size mismatch"),
    ):
        torch.save({"model": {k: v for k, v in (tensors | change).items() if v is not None}}, tmp_path / "bad.pt")
        with pytest.raises((ValueError, RuntimeError), match=message):
            editors.restore(lm, kind, *published_editors.load(tmp_path / "bad.pt", lm, kind))


def test_a_published_file_that_could_run_code_is_refused(tmp_path):
    lm = toy.lm("gpt2")
    torch.save({"model": {"edit_lrs": nn.Linear(2, 2)}}, tmp_path / "object.pt")
    with pytest.raises(ValueError, match=r"object.pt: cannot be loaded as tensors alone"):
        published_editors.load(tmp_path / "object.pt", lm, "mend")
    (tmp_path / "broken.pt").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"broken.pt: cannot be loaded"):
        published_editors.load(tmp_path / "broken.pt", lm, "mend")
    torch.save({"state": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="under the key 'model'"):
        published_editors.load(tmp_path / "other.pt", lm, "mend")
