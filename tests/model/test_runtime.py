"""How torch runs in a job: threads, full precision, deterministic; a device that is absent is said."""

from types import SimpleNamespace

import pytest
import torch

from engram.model import runtime


@pytest.fixture(autouse=True)
def as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def test_a_job_has_its_threads_and_says_its_device():
    job = SimpleNamespace(config={"run": {"threads": 2, "device": "cpu"}})
    assert runtime.setup(job) == torch.device("cpu") and job.device == "cpu"
    assert torch.get_num_threads() == 2 and torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_absent_is_said():
    assert runtime.start(runtime.Runtime(1, "auto")) == torch.device("cpu")
    with pytest.raises(ValueError, match=r"run\.device is cuda, but torch sees no CUDA device"):
        runtime.start(runtime.Runtime(1, "cuda"))
