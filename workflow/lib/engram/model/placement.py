"""A model that does not fit on one GPU: its weights lie on several and compute there, its states stay on the first.

Every module with weights elsewhere takes its input there and hands back what it makes of it; tables of positions lie
where the states do. So whoever calls it, the model's own forward or a faster one, sees the states on one device all the
time.
"""

from functools import partial

import torch
from transformers.utils import is_accelerate_available


def spread_options(name: str, device) -> dict:
    """What from_pretrained is told to spread a model over the GPUs. ImportError without accelerate, ValueError without
    a GPU.
    """
    if not is_accelerate_available():
        raise ImportError(
            f"model {name}: `devices: auto` needs the package accelerate, which is not installed: "
            "pip install accelerate, or set `devices: one`"
        )
    if torch.device(device).type != "cuda":
        raise ValueError(
            f"model {name}: `devices: auto` spreads it over GPUs, not over a {device}; right is `devices: one`"
        )
    return {"device_map": "auto"}


def joined(model: torch.nn.Module) -> torch.nn.Module:
    """A model that from_pretrained has spread: without accelerate's hooks, which let the states wander.

    ValueError if some weights are on no GPU.
    """
    from accelerate.hooks import remove_hook_from_submodules

    remove_hook_from_submodules(model)
    lost = sorted({str(place) for place in model.hf_device_map.values() if str(place) in ("cpu", "disk", "meta")})
    if lost:
        raise ValueError(
            f"the GPUs do not hold all of this {type(model).__name__}: parts of it are left on {', '.join(lost)}; "
            "right are more GPUs, or a smaller `dtype`"
        )
    return keep_states_home(model)


def keep_states_home(model: torch.nn.Module) -> torch.nn.Module:
    """The model, with its tables where its embeddings are, and modules whose weights are elsewhere calling there and
    back.
    """
    home = model.get_input_embeddings().weight.device
    for module in model.modules():
        for name, table in module._buffers.items():
            module._buffers[name] = None if table is None else table.to(home)
        if any(weight is not None and weight.device != home for weight in module._parameters.values()):
            call_from(module, home)
    return model


def call_from(module: torch.nn.Module, home: torch.device) -> None:
    """Let a module that is called with tensors on `home` compute where its weights are."""
    module.forward = partial(_there_and_back, module, home)  # a deepcopy of the model holds the copy of the module


def _there_and_back(module, home: torch.device, *args, **kwargs):
    place = next(weight.device for weight in module._parameters.values() if weight is not None)
    return _moved(type(module).forward(module, *_moved(args, place), **_moved(kwargs, place)), home)


def _moved(value, place: torch.device):
    if isinstance(value, torch.Tensor):
        return value.to(place)
    if isinstance(value, (tuple, list)):
        return type(value)(_moved(one, place) for one in value)
    return {key: _moved(one, place) for key, one in value.items()} if type(value) is dict else value
