"""Changes of a model's weights of every kind, and the oracle: the same change really written into the weights."""

from contextlib import contextmanager

import torch

from engram.model.delta import LINEAR, NOTHING, Delta, place


def random(shape, model, seed, size=0.2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(next(model.model.parameters())) * size


def names(model, layer, kinds):
    """Names of the parameters of block `layer` whose module is one of `kinds`."""
    block = model.arch.block.format(layer)
    return [
        f"{block}.{path}.{name}"
        for path, module in model.module("block", layer).named_modules()
        if isinstance(module, kinds)
        for name, _ in module.named_parameters(recurse=False)
    ]


def whole_block(model, layer, seed, kinds):
    return {
        name: random(place(model, name).weight.shape, model, seed + i)
        for i, name in enumerate(names(model, layer, kinds))
    }


def low(model, key, rank, seed):
    out, into = place(model, key).weight.shape
    return random((out, rank), model, seed), random((into, rank), model, seed + 1)


def assorted(model):
    """Rank 1 and 3 in several layers, nothing, dense matrices, an attention weight with its bias, a block with its
    norms.
    """
    attention = [name for name in names(model, 1, LINEAR) if name.startswith(model.arch.attn.format(1))]
    kinds = (*LINEAR, torch.nn.LayerNorm)
    return [
        Delta({2: low(model, 2, 1, 0)}),
        NOTHING,
        Delta({2: low(model, 2, 3, 2), 0: low(model, 0, 1, 4)}),
        Delta({1: random(place(model, 1).weight.shape, model, 6)}),
        Delta({name: random(place(model, name).weight.shape, model, 7 + i) for i, name in enumerate(attention)}),
        Delta(whole_block(model, 3, 20, kinds)),
        Delta({1: random(place(model, 1).weight.shape, model, 8), 2: low(model, 2, 2, 9)}),
        Delta({attention[0]: low(model, attention[0], 2, 40)}),
    ]


@contextmanager
def written(model, delta):
    """The oracle: add every change to the bytes of the parameter itself, and put the bytes back."""
    parameters = dict(model.model.named_parameters())
    before = {name: tensor.clone() for name, tensor in parameters.items()}
    try:
        for key, part in delta.parts.items():
            name = model.arch.value.format(key) + ".weight" if isinstance(key, int) else key
            change = part[0] @ part[1].T if isinstance(part, tuple) else part
            module = model.model.get_submodule(name.rpartition(".")[0])
            turned = type(module).__name__ == "Conv1D" and name.endswith("weight")
            parameters[name].data += change.T if turned else change
        yield
    finally:
        for name, tensor in parameters.items():
            tensor.data.copy_(before[name])


def snapshot(model):
    return {name: (id(tensor), tensor.clone()) for name, tensor in model.model.state_dict(keep_vars=True).items()}


def unchanged(model, before):
    now = model.model.state_dict(keep_vars=True)
    assert list(now) == list(before)
    return all(id(now[name]) == kept and torch.equal(now[name], tensor) for name, (kept, tensor) in before.items())
