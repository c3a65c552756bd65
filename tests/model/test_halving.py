"""Chunks that do not fit are halved: same results, one warning, a clear end when a single item is too large."""

import pytest
import torch

from engram.model.halving import halving


def limited(limit, error, seen):
    """Sums of chunks, on a device that holds `limit` items."""

    def compute(chunk):
        seen.append(len(chunk))
        if len(chunk) > limit:
            raise error
        return [item * item for item in chunk]

    return compute


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
@pytest.mark.parametrize(("limit", "sizes"), [(3, [8, 4, 2, 2, 2, 2, 2, 2, 1]), (8, [8, 5]), (1, [8, 4, 2] + [1] * 13)])
def test_chunks_are_halved_and_nothing_is_lost(limit, sizes, error, capsys):
    seen = []
    found = [one for result in halving(limited(limit, error, seen), list(range(13)), 8) for one in result]
    assert found == [i * i for i in range(13)] and seen == sizes
    assert capsys.readouterr().err.count("warning: out of memory") == (1 if len(sizes) > 2 else 0)


def test_a_single_item_too_large_is_named():
    def compute(chunk):
        if "a long one" in chunk:
            raise torch.OutOfMemoryError("CUDA out of memory\nmore")
        return len(chunk)

    with pytest.raises(
        MemoryError, match=r"prompt 2 \('a long one'\) does not fit .* would help; torch said: CUDA out"
    ):
        list(halving(compute, ["a", "b", "a long one", "c"], 4, "prompt"))


def test_other_errors_and_bad_sizes_are_not_hidden():
    with pytest.raises(RuntimeError, match="shapes"):
        list(halving(limited(0, RuntimeError("shapes differ"), []), [1, 2], 2))
    with pytest.raises(ValueError, match="chunks of 0"):
        list(halving(len, [1], 0))
    assert list(halving(len, [], 4)) == []


def test_memory_of_the_failed_chunk_is_free_before_the_next_try():
    """Nothing of the failed call, not even its traceback, may keep tensors alive."""
    import weakref

    alive = []

    def compute(chunk):
        if len(chunk) > 1:
            tensor = torch.ones(4)
            alive.append(weakref.ref(tensor))
            raise torch.OutOfMemoryError("CUDA out of memory")
        assert all(ref() is None for ref in alive)
        return chunk[0]

    assert list(halving(compute, [1, 2, 3], 3)) == [1, 2, 3]
