"""What an editor changes, and running many differently edited models as one batch.

A linear weight is spoken of as [out, in], whichever way the architecture stores it.
Shapes: B rows, T tokens, d values, D keys, r rank, N different deltas of a batch, m most rows that one of them has.
"""

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from engram.model.hooks import hooked, with_first

LINEAR = (torch.nn.Linear, Conv1D)


@dataclass(frozen=True)
class Delta:
    """An additive change of weights; {} is no change.

    Keys: a layer (int) is its MLP's last projection, [d, D]; a str is the name of a parameter of the model.
    Values: (left [out, r], right [in, r]) adds left @ right.T, of low rank; a tensor of the parameter's shape (a linear
    weight as [out, in]) is added as it is.
    """

    parts: dict[int | str, tuple[torch.Tensor, torch.Tensor] | torch.Tensor]

    def dense(self, key) -> torch.Tensor:
        """The change under `key` as a tensor of the weight's shape."""
        part = self.parts[key]
        return part[0] @ part[1].T if isinstance(part, tuple) else part

    def __add__(self, other: "Delta") -> "Delta":
        """Both changes together. Low-rank ones stay so as long as their sides are smaller than the weight."""
        both = {key: _sum(self.parts[key], part) if key in self.parts else part for key, part in other.parts.items()}
        return Delta(self.parts | both)

    def norm(self, key) -> float:
        """Frobenius norm of the change under `key`; that of a low-rank one is not formed as a matrix."""
        part = self.parts[key]
        if not isinstance(part, tuple):
            return float(torch.linalg.vector_norm(part.double()))
        left, right = (side.double() for side in part)
        return float(((left.T @ left) * (right.T @ right)).sum().clamp(min=0).sqrt())


def _sum(one, other):
    if isinstance(one, tuple) and isinstance(other, tuple):
        left, right = (torch.cat(sides, 1) for sides in zip(one, other))
        small = left.shape[1] * (len(left) + len(right)) < len(left) * len(right)
        return (left, right) if small else left @ right.T
    dense = [part[0] @ part[1].T if isinstance(part, tuple) else part for part in (one, other)]
    return dense[0] + dense[1]


NOTHING = Delta({})


@dataclass(frozen=True)
class Place:
    """One parameter of a model: its name, the module that holds it, its name there."""

    name: str
    module: torch.nn.Module
    attribute: str

    @property
    def weight(self) -> torch.Tensor:
        """The parameter; a linear weight as a view [out, in]."""
        value = getattr(self.module, self.attribute)
        return value.T if isinstance(self.module, Conv1D) and self.attribute == "weight" else value

    @property
    def stackable(self) -> bool:
        """Whether rows of one batch may have different changes here: linear maps and layer norms."""
        return isinstance(self.module, (*LINEAR, torch.nn.LayerNorm)) and self.attribute in ("weight", "bias")


def place(lm, key) -> Place:
    """Where the model keeps what a delta calls `key`. ValueError for a name without a parameter."""
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
def applied(lm, delta: Delta):
    """The model with `delta` in its weights. They are exchanged for changed copies, and the originals put back."""
    places = {key: place(lm, key) for key in delta.parts}
    copies = {}
    with torch.no_grad():
        for key, at in places.items():
            original = getattr(at.module, at.attribute)
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


def distinct(deltas: list[Delta]) -> tuple[list[Delta], list[int]]:
    """The different objects among `deltas`, in order of appearance, and for every entry its position there."""
    known: dict[int, int] = {}
    index = [known.setdefault(id(delta), len(known)) for delta in deltas]
    return [deltas[index.index(number)] for number in range(len(known))], index


def groups(lm, deltas: list[Delta], budget: int) -> list[list[int]]:
    """Positions of `deltas` that may share a batch: stacks of dense changes stay below `budget` bytes, and a change of
    a weight that cannot be stacked is alone.
    """
    found, room = [], 0
    for number, delta in enumerate(deltas):
        alone = not all(place(lm, key).stackable for key in delta.parts)
        size = sum(part.nbytes for part in delta.parts.values() if not isinstance(part, tuple))
        if alone or not found or size > room:
            found.append([])
            room = budget
        found[-1].append(number)
        room = -1 if alone else room - size
    return found


@contextmanager
def edited(lm, deltas: list[Delta]):
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


def _hook(at: Place, parts: list, rows: torch.Tensor):
    """The forward hook that adds the change of one parameter, `parts[rows[i]]` to row i."""
    terms = []
    low = [part if isinstance(part, tuple) else None for part in parts]
    if any(low):
        terms.append(_low_rank(at.weight, low, rows))
    full = [None if isinstance(part, tuple) else part for part in parts]
    if any(part is not None for part in full):
        terms.append(_dense(at, full, rows))

    def hook(module, inputs, output):
        for term in terms:
            output = with_first(output, term(inputs[0], output))
        return output

    return hook


def _low_rank(weight: torch.Tensor, parts: list, rows: torch.Tensor):
    """Adds left @ (right.T @ x): left [B, d, r], right [B, D, r], or one of each where all rows share them."""
    rank = max(part[0].shape[1] for part in parts if part)
    left, right = (weight.new_zeros(len(parts), size, rank, device=rows.device) for size in weight.shape)
    for number, part in enumerate(parts):
        if part:
            for side, values in zip((left, right), part):
                side[number, :, : values.shape[1]] = values
    if len(parts) > 1:
        left, right = left[rows], right[rows]
    left = left.transpose(1, 2).contiguous()
    if len(parts) == 1:
        return lambda x, output: output + x @ right[0] @ left[0]
    if rank == 1:
        right = right.transpose(1, 2)
        return lambda x, output: torch.addcmul(output, (x * right).sum(-1, keepdim=True), left)
    return lambda x, output: torch.baddbmm(output, torch.bmm(x, right), left)


def _dense(at: Place, parts: list, rows: torch.Tensor):
    """Adds change[row] @ x of a linear weight, change[row] of a bias, change[row] * normed x of a layer norm."""
    changed = [number for number, part in enumerate(parts) if part is not None]
    zero = torch.zeros_like(at.weight, device=rows.device)
    if at.attribute == "bias" or isinstance(at.module, torch.nn.LayerNorm):
        stack = torch.stack([zero if part is None else part.to(zero) for part in parts])[rows]

        def own(output):  # a norm inside of an attention reads [B, T, heads, width]
            return stack.view(len(stack), *[1] * (output.ndim - 2), -1)

        if at.attribute == "bias":
            return lambda x, output: output + own(output)
        return lambda x, output: output + F.layer_norm(x, at.module.normalized_shape, eps=at.module.eps) * own(output)
    stack = torch.stack([parts[number].to(zero).T for number in changed])  # [N, D, d]
    members = [(rows == number).nonzero()[:, 0] for number in changed]
    most = max(len(member) for member in members)
    slots = torch.stack([F.pad(member, (0, most - len(member))) for member in members])  # [N, m]; filled up with row 0
    back = torch.zeros_like(rows)
    for number, member in enumerate(members):
        back[member] = number * most + torch.arange(len(member), device=rows.device)
    has = torch.isin(rows, rows.new_tensor(changed))[:, None, None]

    def term(x, output):
        added = torch.bmm(x[slots].flatten(1, 2), stack).view(slots.numel(), x.shape[1], -1)
        return torch.where(has, output + added[back], output)

    return term
