"""The error of every precision of causal tracing on the trained embedded model, against float64.

    python tests/bench/bench_precision.py [--prompts 50]

Needs the default run's artifacts. tf32 exists on CUDA devices alone; here its rounding is done by hand: the factors of
every matrix product keep 10 bits of their mantissa, rounded to the nearest or cut off, and are multiplied and added in
float32, as a tensor core does. What a GPU really gives is measured by bench_trace_gpu.py.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from engram.job import io
from engram.model import loading, precision, runtime
from engram.tracing import causal_trace, noise, restoration

aten = torch.ops.aten
FACTORS = {aten.mm.default: (0, 1), aten.bmm.default: (0, 1), aten.addmm.default: (1, 2), aten.baddbmm.default: (1, 2)}
FUSED = "scaled_dot_product"


class Tf32(TorchDispatchMode):
    """Round the factors of matrix products to tf32; `up` is what is added before the lower 13 bits are cut off."""

    def __init__(self, up: int):
        super().__init__()
        self.up, self.products = up, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert FUSED not in str(func), f"{func} hides its products"
        if func in FACTORS:
            self.products += 1
            args = [self.rounded(arg) if i in FACTORS[func] else arg for i, arg in enumerate(args)]
        return func(*args, **(kwargs or {}))

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
        bits = x.contiguous().view(torch.int32)
        return ((bits + self.up) & ~0x1FFF).view(torch.float32).view(x.shape)


def scores(lm, prompts, corruption, config, width, mode=None) -> np.ndarray:
    """Every score of every prompt, one after the other in this thread, which a dispatch mode can see."""
    ready = [causal_trace.prepare(lm, row, config) for row in prompts.itertuples()]
    todo, found = restoration.restorations(config.sites, width, lm.layers), []
    with sdpa_kernel(SDPBackend.MATH):
        for prompt in ready:
            if mode is None:
                ((tables, _),) = causal_trace.trace_group(lm, [prompt], corruption, config, todo, 0)
            else:
                with mode:
                    ((tables, _),) = causal_trace.trace_group(lm, [prompt], corruption, config, todo, 0)
            found += [table[~np.isnan(table)] for table in tables.values()]
    return np.concatenate(found)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=50)
    args = parser.parse_args(argv)
    device = runtime.start(runtime.Runtime(threads=2, device="cpu"))
    if not Path("results/known/mini/prompts.parquet").exists():
        raise SystemExit("results/known/mini is not there: run `make` first")
    lm = loading.load("mini", "results/train/mini", device)
    config = causal_trace.Config(prompts=args.prompts, samples=10, sites=("hidden", "mlp", "attn"))
    prompts = causal_trace.selected(lm, io.read_table("results/known/mini/prompts.parquet"), config)
    corruption = noise.load(
        io.read_json(Path("results/noise/mini/s3/noise.json")),
        io.read_tensors(Path("results/noise/mini/s3/vectors.safetensors"))[0],
    )
    exact = None
    for name in sorted(precision.PRECISIONS, key=lambda name: name != "float64"):
        modes = {"rounded": Tf32(0x1000), "cut off": Tf32(0)} if name == "tf32" else {"": None}
        for how, mode in modes.items():
            with precision.at(lm, "float32" if mode else name) as cast:
                found = scores(cast, prompts, corruption, config, 2, mode)
            exact = found if exact is None else exact
            off = np.abs(found - exact)
            print(
                f"{name} {how}: largest error {off.max():.1e}, mean {off.mean():.1e} over {len(off)} "
                f"scores of {len(prompts)} "
                f"prompts{f'; {mode.products} products' if mode else ''}",
                flush=True,
            )


if __name__ == "__main__":
    main()
