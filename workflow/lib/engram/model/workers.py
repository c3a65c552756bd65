"""Independent pieces of work side by side on a CPU, one core each."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def workers(device: torch.device):
    """A pool that computes one piece per thread, each on one core: no waiting between cores, and no number depends on
    how many there are. A GPU gets one thread.
    """
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads if device.type == "cpu" else 1)
    torch.set_num_threads(1 if device.type == "cpu" else threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
