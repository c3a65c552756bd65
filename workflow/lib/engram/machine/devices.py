"""What a machine can do: its device, how fast it multiplies, how much memory is free."""

import os
import time
from typing import NamedTuple

import psutil
import torch


class Device(NamedTuple):
    """Where torch would compute: cpu or cuda, its name, operations per second in float32 products, bytes of free memory
    of the first device and of all together.
    """

    kind: str
    name: str
    rate: float
    memory: int
    together: int


def look(run: dict) -> Device:
    """The device that the section `run` of the params asks for; the CPU where there is no GPU."""
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)  # jobs of fewer threads run side by side
    if run["device"] != "cpu" and torch.cuda.is_available():
        free = [torch.cuda.mem_get_info(index)[0] for index in range(torch.cuda.device_count())]
        return Device("cuda", torch.cuda.get_device_name(), _rate(torch.device("cuda"), 8192), free[0], sum(free))
    return Device(
        "cpu", f"CPU with {cores} cores", _rate(torch.device("cpu"), 1024), *[psutil.virtual_memory().available] * 2
    )


def _rate(device: torch.device, size: int, repeats: int = 5) -> float:
    """Operations per second in the product of two float32 matrices; the best of some, as others may use the machine."""
    a = torch.full((size, size), 0.5, device=device)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
