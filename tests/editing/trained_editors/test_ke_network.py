"""KE: its formula."""

import pytest
import torch

import toy
from engram.editing.trained_editors import ke_network
from hypernets import FACTS, close, delta_of, net_of, slopes, texts_of


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_ke_against_its_formula(kind):
    """max_scale * sigmoid(gate) * (autograd's gradient * (linear x softmax) + linear x softmax), text by text."""
    lm = toy.lm(kind)
    net = net_of(lm, "ke", moved=0.3, max_scale=0.7)
    for fact, text in zip(FACTS, texts_of(lm, FACTS)):
        reader = net.reader
        states = reader.lstm(reader.embedding(torch.tensor([[*text.prompt, *text.target]])))[0][0]
        half = net.settings.hidden
        ends = torch.cat([states[-1, :half], states[0, half:]])  # where each direction has read everything
        condition = (reader.linear.weight @ ends + reader.linear.bias).tanh()
        delta = delta_of(lm, "ke", net, [fact])
        for name, slope in slopes(lm, 2, text).items():
            out, into = slope.shape
            first, last = net.conditioners[ke_network.slot(name)][0], net.conditioners[ke_network.slot(name)][2]
            values = last.weight @ (first.weight @ condition + first.bias).tanh() + last.bias
            a, row_a, b, row_b, gate = values.split([out, into, out, into, 1])
            wanted = (
                0.7 * gate.sigmoid() * (slope * torch.outer(a, row_a.softmax(0)) + torch.outer(b, row_b.softmax(0)))
            )
            assert close(delta.dense(name), wanted)
