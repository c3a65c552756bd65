"""The precision of causal tracing: the dtype of the model, and whether a GPU may round factors of products to tf32.

The dtype in which a model is loaded: engram.model.loading.DTYPES.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from engram.model.loading import LM

PRECISIONS = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
    "loaded": None,  # as the model's weights are
}


@contextmanager
def at(lm: LM, precision: str) -> Iterator[LM]:
    """The model in `precision`, one of PRECISIONS: `lm` if its weights are in that dtype already, else a copy.

    Products are in tf32 inside the block alone. As when a checkpoint is loaded in a dtype, only parameters change:
    tables of positions stay as they are. ValueError for an unknown precision, and for tf32 without a GPU.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"trace.precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if precision == "tf32" and lm.device.type != "cuda":
        raise ValueError(
            f"trace.precision is tf32, which only a CUDA device has; this one is {lm.device.type}: use float32"
        )
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    try:
        yield _cast(lm, PRECISIONS[precision])
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _cast(lm: LM, dtype: torch.dtype | None) -> LM:
    if dtype is None or lm.model.dtype == dtype:
        return lm
    parameters = {id(old): torch.nn.Parameter(old.detach().to(dtype), False) for old in lm.model.parameters()}
    model = copy.deepcopy(lm.model, parameters)  # the memo: no second copy in the old dtype
    for module in model.modules():
        if hasattr(module, "scalar_embed_scale"):  # Gemma's factor, which loading makes in that dtype
            device = module.get_buffer("embed_scale").device
            module.embed_scale = torch.tensor(module.scalar_embed_scale, dtype=dtype, device=device)
    return replace(lm, model=model)
