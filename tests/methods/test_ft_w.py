"""FT-W: weight decay constant or by the power law; the weights come back after an error."""

import pytest
import torch

from engram.methods import ft_w
from toy import lm
from tuned_weights import AIDS, FACTS, TUNED, changes, oracle, settings


def test_weights_come_back_after_an_error(monkeypatch):
    model = lm("gpt2")
    before = {key: value.clone() for key, value in model.model.state_dict().items()}

    def fails(*_args):
        raise RuntimeError("in the middle")

    monkeypatch.setattr(torch.optim.Adam, "step", fails)
    with pytest.raises(RuntimeError, match="in the middle"):
        ft_w.edit(model, FACTS, settings(), AIDS)
    assert all(torch.equal(value, before[key]) for key, value in model.model.state_dict().items())
    assert not any(value.requires_grad for value in model.model.parameters())


def test_weight_decay_is_constant_or_the_power_law():
    assert settings(weight_decay=5e-4).decay(10_000) == 5e-4
    law = settings(decay_law=(-0.87028798, 0.15589562))
    assert law.decay(1) == pytest.approx(1.1687, abs=1e-4) and law.decay(10_000) == pytest.approx(3.861e-4, abs=1e-6)
    model = lm("gpt2", torch.float64)
    found = changes(model, ft_w.edit(model, FACTS, settings(decay_law=(-0.87028798, 0.15589562)), AIDS))
    wanted = oracle(model, FACTS, TUNED["ft_w"]["gpt2"], settings(), law.decay(3))
    assert all(torch.allclose(found[name], change, atol=1e-9) for name, change in wanted.items())
