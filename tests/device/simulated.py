"""A device `sim` beside the CPU, where tensors only pretend to be elsewhere: what would fail on a GPU fails on it,
without one.

Tensors there and on the CPU do not meet in one operation, but in copies, as numbers without a dimension, and as
indices; their numbers are on the CPU only after `.cpu()`, `.tolist()` or `.item()`; what has no deterministic form on
CUDA is refused. Nothing is said of speed or of CUDA's rounding. To be imported before whatever uses torch, in a process
of its own: it stays.
"""

import torch
from torch.utils import _pytree as tree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("sim")
DEVICE = torch.device("sim:0")
MAY_MEET = {
    "aten::copy_",
    "aten::_copy_from",
    "aten::_to_copy",
    "aten::_copy_from_and_resize",
    "aten::_pack_padded_sequence",
}
INDEXED = {
    "aten::index",
    "aten::index_put",
    "aten::index_put_",
    "aten::_index_put_impl_",
}  # whose indices may be on the CPU
UNSETTLED = {
    "aten::kthvalue",
    "aten::median",
    "aten::histc",
    "aten::bincount",
    "aten::put_",
    "aten::scatter_reduce",
    "aten::nll_loss2d_forward",
}  # torch.use_deterministic_algorithms lists them; cumsum too, for floats
MADE_HERE = (
    "tensor",
    "as_tensor",
    "arange",
    "eye",
    "linspace",
)  # functions that torch does not let a device of Python serve


class There(torch.Tensor):
    """A tensor on the device; its numbers are in `inner`, on the CPU."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor):
        found = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            dtype=inner.dtype,
            device=DEVICE,
            storage_offset=inner.storage_offset(),
        )
        found.inner = inner
        return found

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return computed(operation, *args, **(kwargs or {}))

    def __getitem__(self, key):
        return torch.Tensor.__getitem__(self, _indices(key))

    def __setitem__(self, key, value):
        torch.Tensor.__setitem__(self, _indices(key), value)

    def tolist(self):
        return self.inner.tolist()

    def new_tensor(self, data, dtype=None):
        return torch.tensor(data, dtype=dtype, device=DEVICE)


def _indices(key):
    if isinstance(key, tuple):
        return tuple(map(_indices, key))
    return torch.tensor(key) if isinstance(key, list) else key


def refuse(name: str, args: tuple, values: list) -> None:
    """RuntimeError for what CUDA does not do; `values` are all of the operation's."""
    asked = tree.tree_leaves((args[:1], args[2:])) if name in INDEXED else values
    here = [
        tuple(value.shape)
        for value in asked
        if isinstance(value, torch.Tensor) and not isinstance(value, There) and value.dim()
    ]
    if here and name not in MAY_MEET:
        raise RuntimeError(f"{name}: tensors on two devices; on the CPU are those of shapes {here}")
    if name in UNSETTLED or (name == "aten::cumsum" and args[0].is_floating_point()):
        raise RuntimeError(f"{name} has no deterministic form on CUDA")


def computed(operation, *args, **kwargs):
    """The operation, done on the CPU; what comes out is on the device, unless another was asked for. Views stay
    views.
    """
    name = operation._schema.name
    wanted = torch.device(kwargs.get("device") or DEVICE)
    values, form = tree.tree_flatten((args, kwargs))
    refuse(name, args, values)
    given = {id(value.inner): value for value in values if isinstance(value, There)}
    args, kwargs = tree.tree_unflatten([value.inner if isinstance(value, There) else value for value in values], form)
    found = operation(*args, **(kwargs | {"device": "cpu"} if "device" in kwargs else kwargs))
    if wanted.type == "cpu":
        return found
    if name == "aten::_pack_padded_sequence":  # whose numbers of rows are on the CPU, as CUDA wants them
        return There(found[0]), found[1]
    if isinstance(found, torch.Tensor):
        return _there(found, given)
    return tree.tree_map(lambda value: _there(value, given), found)


def _there(value, given: dict):
    """An output on the device: the argument itself, if the operation has returned that."""
    if not isinstance(value, torch.Tensor):
        return value
    return given[id(value)] if id(value) in given else There(value)


def _moved(make):
    def made(*args, device=None, **kwargs):
        found = make(*args, **kwargs)
        return found if device is None else found.to(device)

    return made


_library = torch.library.Library("_", "IMPL")
_library.fallback(computed, "PrivateUse1")
torch.inference_mode = torch.no_grad  # a device of Python knows no tensors of inference
for _name in MADE_HERE:
    setattr(torch, _name, _moved(getattr(torch, _name)))
