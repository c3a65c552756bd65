"""What an editor changes in a model, `Delta`, and running many differently edited models as one batch.

A linear weight is spoken of as [out, in], whichever way the architecture stores it.
Shapes: B rows, T tokens, d values, D keys, r rank, N different deltas of a batch, m most rows that one of them has.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from engram.model.hooks import Hook, hooked, with_first
from engram.model.loading import LM

LINEAR = (torch.nn.Linear, Conv1D)
Key = int | str
Change = tuple[Tensor, Tensor] | Tensor
Term = Callable[[Tensor, Tensor], Tensor]  # (a module's input, its output) -> the changed output


@dataclass(frozen=True)
class Delta:
    """An additive change of weights; {} is no change.

    Keys: a layer (int) is its MLP's last projection, [d, D]; a str is the name of a parameter of the model.
    Values: (left [out, r], right [in, r]) adds left @ right.T, of low rank; a tensor of the parameter's shape (a linear
    weight as [out, in]) is added as it is.
    """

    parts: dict[Key, Change]

    def dense(self, key: Key) -> Tensor:
        """The change under `key` as a tensor of the weight's shape."""
        return _dense(self.parts[key])

    def __add__(self, other: "Delta") -> "Delta":
        """Both changes together. Low-rank ones stay so as long as their sides are smaller than the weight."""
        both = {key: _sum(self.parts[key], part) if key in self.parts else part for key, part in other.parts.items()}
        return Delta(self.parts | both)

    def norm(self, key: Key) -> float:
        """Frobenius norm of the change under `key`; a low-rank change is not formed as a matrix."""
        part = self.parts[key]
        if not isinstance(part, tuple):
            return float(torch.linalg.vector_norm(part.double()))
        left, right = (side.double() for side in part)
        return float(((left.T @ left) * (right.T @ right)).sum().clamp(min=0).sqrt())


def _dense(change: Change) -> Tensor:
    return change[0] @ change[1].T if isinstance(change, tuple) else change


def _sum(change: Change, other: Change) -> Change:
    if isinstance(change, tuple) and isinstance(other, tuple):
        left, right = (torch.cat(sides, 1) for sides in zip(change, other))
        small = left.shape[1] * (len(left) + len(right)) < len(left) * len(right)
        return (left, right) if small else left @ right.T
    return _dense(change) + _dense(other)


NOTHING = Delta({})


@dataclass(frozen=True)
class Place:
    """Where a model keeps a parameter: the parameter's name, the module that holds it, its name in that module."""

    name: str
    module: torch.nn.Module
    attribute: str

    @property
    def weight(self) -> Tensor:
        """The parameter; a linear weight as a view [out, in]."""
        value = getattr(self.module, self.attribute)
        return value.T if isinstance(self.module, Conv1D) and self.attribute == "weight" else value

    @property
    def stackable(self) -> bool:
        """Whether rows of one batch may have different changes of this parameter: linear maps and layer norms."""
        return isinstance(self.module, (*LINEAR, torch.nn.LayerNorm)) and self.attribute in ("weight", "bias")


def place(lm: LM, key: Key) -> Place:
    """Where the model keeps the parameter that a delta calls `key`; ValueError for a name without a parameter."""
    name = f"{lm.arch.value.format(key)}.weight" if isinstance(key, int) else key
    path, _, attribute = name.rpartition(".")
    try:
        module = lm.model.get_submodule(path)
    except AttributeError:
        module = None
    if module is None or module._parameters.get(attribute) is None:
        raise ValueError(f"model {lm.name} has no parameter {name!r}, which a delta wants to change")
    return Place(name, module, attribute)


@contextmanager
def applied(lm: LM, delta: Delta) -> Iterator[LM]:
    """The model with `delta` in its weights: they are exchanged for changed copies, and the originals put back."""
    copies: dict[torch.nn.Parameter, Tensor] = {}
    with torch.no_grad():
        for key, at in {key: place(lm, key) for key in delta.parts}.items():
            original = at.module.get_parameter(at.attribute)
            copy = copies.setdefault(original, original.clone())
            change = delta.dense(key).to(copy)
            copy.add_(change if at.weight is original else change.T)
    holders = [
        (module, name, original)
        for module in lm.model.modules()
        for name, original in module._parameters.items()
        if original is not None and original in copies
    ]
    try:
        for module, name, original in holders:  # a tied weight changes wherever it is used
            module._parameters[name] = torch.nn.Parameter(copies[original], requires_grad=False)
        yield lm
    finally:
        for module, name, original in holders:
            module._parameters[name] = original


def distinct(deltas: Sequence[Delta]) -> tuple[list[Delta], list[int]]:
    """The different objects among `deltas`, in order of appearance, and for every entry its index among them."""
    known: dict[int, int] = {}
    index = [known.setdefault(id(delta), len(known)) for delta in deltas]
    return [deltas[index.index(number)] for number in range(len(known))], index


def groups(lm: LM, deltas: Sequence[Delta], budget: int) -> list[list[int]]:
    """Groups of the indices of `deltas` that may share a batch (see `edited`).

    Stacks of dense changes stay below `budget` bytes; a change of a weight that cannot be stacked is alone.
    """
    sharing: list[list[int]] = []
    left = 0
    for number, delta in enumerate(deltas):
        alone = not all(place(lm, key).stackable for key in delta.parts)
        size = sum(part.nbytes for part in delta.parts.values() if not isinstance(part, tuple))
        if alone or not sharing or size > left:
            sharing.append([])
            left = budget
        sharing[-1].append(number)
        left = -1 if alone else left - size
    return sharing


@contextmanager
def edited(lm: LM, deltas: Sequence[Delta]) -> Iterator[LM]:
    """A batch in which row i of the input runs through the model edited by `deltas[i]`; shared weights are used once.

    Low-rank changes are one term per row, their ranks padded with zeros; dense ones a stacked matrix per different
    delta. ValueError if deltas differ in a weight that cannot be stacked (`groups` keeps such deltas apart).
    """
    different, index = distinct(deltas)
    places = {key: place(lm, key) for delta in different for key in delta.parts}
    alone = [at.name for at in places.values() if not at.stackable]
    if alone and len(different) > 1:
        raise ValueError(
            f"{len(different)} differently edited models cannot share a batch: they change {alone[0]}, which is "
            f"neither a linear map nor a layer norm"
        )
    with ExitStack() as stack:
        if alone:
            stack.enter_context(applied(lm, different[0]))
        else:
            rows = torch.tensor(index, device=lm.device)
            hooks = (
                (at.module, _hook(at, [delta.parts.get(key) for delta in different], rows))
                for key, at in places.items()
            )
            stack.enter_context(hooked(*hooks))
        yield lm


def _hook(at: Place, changes: list[Change | None], rows: Tensor) -> Hook:
    """The forward hook that adds the change of one parameter, `changes[rows[i]]`, to row i."""
    low = [change if isinstance(change, tuple) else None for change in changes]
    full = [None if isinstance(change, tuple) else change for change in changes]
    terms: list[Term] = [_low_rank_term(at.weight, low, rows)] if any(low) else []
    if any(change is not None for change in full):
        vector = at.attribute == "bias" or isinstance(at.module, torch.nn.LayerNorm)
        terms.append((_vector_term if vector else _matrix_term)(at, full, rows))

    def hook(module: torch.nn.Module, inputs: Any, output: Any) -> Any:
        for term in terms:
            output = with_first(output, term(inputs[0], output))
        return output

    return hook


def _low_rank_term(weight: Tensor, changes: Sequence[tuple[Tensor, Tensor] | None], rows: Tensor) -> Term:
    """Adds left @ (right.T @ x): left [B, d, r], right [B, D, r], or one of each where all rows share them."""
    rank = max(change[0].shape[1] for change in changes if change)
    left, right = (weight.new_zeros(len(changes), size, rank, device=rows.device) for size in weight.shape)
    for number, change in enumerate(changes):
        for side, values in zip((left, right), change or ()):
            side[number, :, : values.shape[1]] = values
    if len(changes) > 1:
        left, right = left[rows], right[rows]
    left = left.transpose(1, 2).contiguous()
    if len(changes) == 1:
        return lambda x, output: output + x @ right[0] @ left[0]
    if rank == 1:
        right = right.transpose(1, 2)
        return lambda x, output: torch.addcmul(output, (x * right).sum(-1, keepdim=True), left)
    return lambda x, output: torch.baddbmm(output, torch.bmm(x, right), left)


def _vector_term(at: Place, changes: Sequence[Tensor | None], rows: Tensor) -> Term:
    """Adds change[row] of a bias, or change[row] * normed x of a layer norm's weight."""
    zero = torch.zeros_like(at.weight, device=rows.device)
    stack = torch.stack([zero if change is None else change.to(zero) for change in changes])[rows]

    def term(x: Tensor, output: Tensor) -> Tensor:
        own = stack.view(len(stack), *[1] * (output.ndim - 2), -1)  # a norm inside an attention reads [B, T, H, k]
        if at.attribute == "weight" and isinstance(at.module, torch.nn.LayerNorm):
            own = F.layer_norm(x, at.module.normalized_shape, eps=at.module.eps) * own
        return output + own

    return term


def _matrix_term(at: Place, changes: Sequence[Tensor | None], rows: Tensor) -> Term:
    """Adds change[row] @ x of a linear weight."""
    changed = {number: change for number, change in enumerate(changes) if change is not None}
    zero = torch.zeros_like(at.weight, device=rows.device)
    stack = torch.stack([change.to(zero).T for change in changed.values()])  # [N, D, d]
    members = [(rows == number).nonzero()[:, 0] for number in changed]
    most = max(len(member) for member in members)
    slots = torch.stack([F.pad(member, (0, most - len(member))) for member in members])  # [N, m]; filled up with row 0
    back = torch.zeros_like(rows)
    for number, member in enumerate(members):
        back[member] = number * most + torch.arange(len(member), device=rows.device)
    has_change = torch.isin(rows, rows.new_tensor(list(changed)))[:, None, None]

    def term(x: Tensor, output: Tensor) -> Tensor:
        added = torch.bmm(x[slots].flatten(1, 2), stack).view(slots.numel(), x.shape[1], -1)
        return torch.where(has_change, output + added[back], output)

    return term
