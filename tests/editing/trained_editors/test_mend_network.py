"""MEND: its formula, its statistics, and what it is before any training."""

import pytest
import torch

import toy
from engram.editing.trained_editors import factors, mend_network
from hypernets import FACTS, close, delta_of, net_of, slopes, texts_of


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_untrained_mend_is_a_scaled_gradient_step(kind):
    lm = toy.lm(kind)
    net = net_of(lm, "mend")
    for fact, text in zip(FACTS, texts_of(lm, FACTS)):
        delta = delta_of(lm, "mend", net, [fact], 3.0)
        for name, wanted in slopes(lm, 2, text).items():
            assert close(delta.dense(name), -3.0 * 0.01 * wanted)


def plain_mend(net, u, v, name):
    """The network of one weight, token by token, as spec 4.4 has it."""
    group, mode = net.place[name]
    shared, total = net.nets[group], 0
    count, mean, square = (getattr(shared.statistics, key) for key in ("count", "mean", "square"))
    for u_t, v_t in zip(u, v):
        if not u_t.any() or not v_t.any():
            continue
        x = ((torch.cat([u_t, v_t]).double() - mean) / ((square / (count - 1)).sqrt() + 1e-7)).float()
        for index, layer in enumerate(shared.layers):
            inner = layer.scale[mode] * (layer.up @ (layer.down @ x) + layer.bias) + layer.offset[mode]
            x = x + (inner.relu() if index == 0 else inner)
        total = total + torch.outer(x[len(u_t) :], x[: len(u_t)])
    return -net.rates[list(net.shapes).index(name)] * total


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_mend_against_its_formula(kind):
    """A moved network, statistics of some texts, another text: the change is what a loop over its tokens gives."""
    lm = toy.lm(kind)
    net = net_of(lm, "mend", moved=0.1)
    batch = factors.batch_of(lm, texts_of(lm, FACTS), 2)
    edited = factors.maps(lm, 2)
    net.train()(batch, factors.factors(lm, edited, batch, 2))
    text = texts_of(lm, FACTS[:1])
    one = factors.batch_of(lm, text, 2)
    found = factors.factors(lm, edited, one, 2)
    delta = delta_of(lm, "mend", net, FACTS[:1])
    with torch.no_grad():
        for name in edited:
            assert close(delta.dense(name), plain_mend(net, *(side[0] for side in found[name]), name))


def test_statistics_are_those_of_all_vectors():
    """Mean and deviation of everything seen, however it was cut into batches; nothing before two vectors."""
    x = torch.randn(37, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1
    found = mend_network.Statistics(5)
    found.update(x[:1])
    assert torch.equal(found(x), x)
    for part in (x[1:1], x[1:4], x[4:30], x[30:]):
        found.update(part)
    assert torch.allclose(found(x), (x - x.mean(0)) / x.std(0), atol=1e-5)
