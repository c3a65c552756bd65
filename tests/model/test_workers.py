"""A pool of one-core threads, after which torch has the threads that it had."""

import pytest
import torch

from engram.model.workers import workers


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_each_piece_has_one_core(three_threads):
    with workers(torch.device("cpu")) as pool:
        assert pool._max_workers == 3 and set(pool.map(lambda _: torch.get_num_threads(), range(6))) == {1}
    assert torch.get_num_threads() == 3
    with workers(torch.device("cuda")) as pool:
        assert pool._max_workers == 1 and torch.get_num_threads() == 3


def test_threads_come_back_after_an_error(three_threads):
    with pytest.raises(RuntimeError, match="inside"), workers(torch.device("cpu")):
        raise RuntimeError("inside")
    assert torch.get_num_threads() == 3
