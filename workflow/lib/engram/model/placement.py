"""A model that does not fit on one GPU: its weights lie on several and compute there, its states stay on the first.

Every module with weights elsewhere takes its input there and hands its result back; tables of positions lie where the
states do. So whoever calls the modules, the model's own forward or a faster one, sees all states on one device.
engram.model.loading.load calls this for `devices: auto`.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import is_accelerate_available


def spread_options(name: str, device: str | torch.device) -> dict[str, str]:
    """The arguments by which from_pretrained spreads the model `name` over the GPUs.

    ImportError without the package accelerate, ValueError where `device` is no GPU.
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


def join_states(model: PreTrainedModel) -> PreTrainedModel:
    """A model that from_pretrained has spread, its states kept on one device instead of moved by accelerate's hooks.

    ValueError if some weights are on no GPU.
    """
    from accelerate.hooks import remove_hook_from_submodules

    remove_hook_from_submodules(model)
    lost = sorted({"cpu", "disk", "meta"} & {str(device) for device in vars(model)["hf_device_map"].values()})
    if lost:
        raise ValueError(
            f"the GPUs do not hold all of this {type(model).__name__}: parts of it are left on {', '.join(lost)}; "
            "right are more GPUs, or a smaller `dtype`"
        )
    return keep_states_home(model)


def keep_states_home(model: PreTrainedModel) -> PreTrainedModel:
    """The model, changed so that all states stay on its home, the device of its token embeddings.

    Tables of positions move there; a module with weights elsewhere computes there and hands its result back.
    """
    home = model.get_input_embeddings().get_parameter("weight").device
    for module in model.modules():
        for name, table in module._buffers.items():
            module._buffers[name] = None if table is None else table.to(home)
        if any(weight is not None and weight.device != home for weight in module._parameters.values()):
            call_from(module, home)
    return model


def call_from(module: torch.nn.Module, home: torch.device) -> None:
    """Let a module that is called with tensors on `home` compute where its weights are and answer there."""
    # in the module's dict: mypy refuses to assign a method; a partial: a deepcopy of the model holds the module's copy
    module.__dict__["forward"] = partial(_there_and_back, module, home)


def _there_and_back(module: torch.nn.Module, home: torch.device, *args: Any, **kwargs: Any) -> Any:
    device = next(weight.device for weight in module._parameters.values() if weight is not None)
    return _moved(type(module).forward(module, *_moved(args, device), **_moved(kwargs, device)), home)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, (tuple, list)):
        return type(value)(_moved(item, device) for item in value)
    return {key: _moved(item, device) for key, item in value.items()} if type(value) is dict else value
