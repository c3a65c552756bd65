"""How torch runs in this process: threads, products in full float32, deterministic algorithms, one device."""

import os
from typing import Literal

import torch

from engram.job.arguments import Job
from engram.settings.blocks import Count, block, build, key


@block
class Runtime:
    """`run:` of params.yaml as far as it can change a number."""

    threads: Count = key("Torch threads of this process.", default=2)
    device: Literal["auto", "cpu", "cuda"] = key("auto is cuda if there is one.", default="auto")


def setup(job: Job) -> torch.device:
    """The device on which a stage computes, after `start` with its settings; the device is noted in the job's lineage.

    ValueError if the device that `run.device` asks for is absent.
    """
    settings = build(Runtime, job.config["run"], "run")
    device = start(settings)
    job.device = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return device


def start(settings: Runtime) -> torch.device:
    """The device to use, after threads, full float32 products and deterministic algorithms are set for this process."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(True)
    # every `empty` is written before it is read; mypy does not know the module's property
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("run.device is cuda, but torch sees no CUDA device; use cpu or auto")
    return torch.device("cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu")
