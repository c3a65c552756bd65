"""Interventions on a model as `with` blocks: what is hooked or replaced is restored on the way out, after an error too.

Changed weights as a `with` block: engram.model.delta.
Shapes: B rows, T tokens, d residual width.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from engram.model.loading import LM

Hook = Callable[[torch.nn.Module, Any, Any], Any]  # (module, positional inputs, output) -> new output, None: the same
Name = TypeVar("Name", bound=Hashable)
Result = TypeVar("Result")


class Stop(Exception):
    """Raised by a hook when a forward need not go on; `call_until_stop` catches it."""


def first(output: Any) -> Tensor:
    """The tensor of a module's output, which is the tensor itself or the head of a tuple."""
    return output[0] if isinstance(output, tuple) else output


def with_first(output: Any, tensor: Tensor) -> Any:
    """A module's `output`, a tensor or a tuple that begins with one, with `tensor` in the place of that tensor."""
    return (tensor, *output[1:]) if isinstance(output, tuple) else tensor


@contextmanager
def hooked(*pairs: tuple[torch.nn.Module, Hook]) -> Iterator[None]:
    """Forward hooks, given as pairs (module, hook), for the duration of the block."""
    handles = [module.register_forward_hook(hook) for module, hook in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def captured(
    modules: Mapping[Name, torch.nn.Module], side: Literal["input", "output"] = "output", stop: Name | None = None
) -> Iterator[dict[Name, Tensor]]:
    """Yields a dict that after a forward holds, under each name, that module's input or output [B, T, *].

    `stop` names the last module needed: the forward ends there (wrap the call in `call_until_stop`).
    """
    kept: dict[Name, Tensor] = {}

    def keep(name: Name) -> Hook:
        def hook(_module: torch.nn.Module, inputs: Any, output: Any) -> None:
            kept[name] = inputs[0] if side == "input" else first(output)
            if name == stop:
                raise Stop

        return hook

    with hooked(*((module, keep(name)) for name, module in modules.items())):
        yield kept


def call_until_stop(call: Callable[..., Result], *args: Any, **kwargs: Any) -> Result | None:
    """What `call(*args, **kwargs)` returns, or None where a hook raised Stop."""
    try:
        return call(*args, **kwargs)
    except Stop:
        return None


@contextmanager
def resumed(lm: LM, layer: int, hidden: Tensor) -> Iterator[None]:
    """Forwards inside the block start after block `layer`, whose output is taken to be `hidden` [B, T, d].

    Exact: the blocks up to `layer` are left out, not approximated. Token ids fed to the model must be [B, T] as well.
    """
    blocks = [lm.module("block", index) for index in range(layer + 1)]

    def returning(output_of: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
        def forward(hidden_states: Tensor, *_args: Any, **_kwargs: Any) -> Any:
            output = output_of(hidden_states)
            return (output, None) if lm.arch.block_tuple else output

        return forward

    try:
        for block in blocks:
            block.__dict__["forward"] = returning(lambda states: states)
        blocks[-1].__dict__["forward"] = returning(lambda _states: hidden)
        yield
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)
