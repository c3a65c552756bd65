"""Independent pieces of work side by side on a CPU, one core each; on a GPU one after another."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def workers(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """A pool of as many threads as torch has, each computing a piece of work on one core; on a GPU of one thread.

    No core waits for another, and no number depends on how many there are.
    """
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads if device.type == "cpu" else 1)
    torch.set_num_threads(1 if device.type == "cpu" else threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
