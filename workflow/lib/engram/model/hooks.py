"""Interventions on a model as `with` blocks: what is hooked or replaced is restored on the way out, also after an
error.

Shapes: B rows, T tokens, d residual width.
"""

from contextlib import contextmanager

import torch


class Stop(Exception):
    """Raised inside a forward that need not go on."""


def first(output):
    """The tensor of a module's output, which is the tensor itself or the head of a tuple."""
    return output[0] if isinstance(output, tuple) else output


def with_first(output, tensor):
    """`output` with its tensor replaced."""
    return (tensor, *output[1:]) if isinstance(output, tuple) else tensor


@contextmanager
def hooked(*pairs):
    """Forward hooks `(module, hook)` for the duration of the block."""
    handles = [module.register_forward_hook(hook) for module, hook in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def captured(modules: dict, side: str = "output", stop=None):
    """Yields a dict that after a forward holds, under each name, the module's input or output [B, T, *].

    `stop` names the last module needed: the forward ends there (wrap the call in `call_until_stop`).
    """
    kept = {}

    def keep(name):
        def hook(_module, inputs, output):
            kept[name] = inputs[0] if side == "input" else first(output)
            if name == stop:
                raise Stop

        return hook

    with hooked(*((module, keep(name)) for name, module in modules.items())):
        yield kept


def call_until_stop(call, *args, **kwargs):
    """`call(...)`, or None where a hook stopped it."""
    try:
        return call(*args, **kwargs)
    except Stop:
        return None


@contextmanager
def resumed(lm, layer: int, hidden: torch.Tensor):
    """Forwards start after block `layer`, whose output is taken to be `hidden` [B, T, d]; blocks below it do nothing.

    Exact: what a block computes is left out, not approximated. The rows fed to the model must have the shape of
    `hidden`.
    """
    blocks = [lm.module("block", index) for index in range(layer + 1)]
    as_tuple = lm.arch.block_tuple

    def passing(tensor_of):
        def forward(hidden_states, *_args, **_kwargs):
            out = tensor_of(hidden_states)
            return (out, None) if as_tuple else out

        return forward

    try:
        for block in blocks[:-1]:
            block.forward = passing(lambda states: states)
        blocks[-1].forward = passing(lambda _states: hidden)
        yield
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)
