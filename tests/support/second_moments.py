"""Random keys, and sums over them, for the tests of second moments."""

import torch

from engram.editing.second_moment import SecondMoment


def off(found, wanted) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())


def keys_of(count, width=7, seed=0, dtype=torch.float64):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)).to(dtype)


def same(one, other):
    return list(one) == list(other) and all(
        (one[at].count, one[at].total.dtype) == (other[at].count, other[at].total.dtype)
        and one[at].total.numpy().tobytes() == other[at].total.numpy().tobytes()
        for at in one
    )


def summed(blocks, **kwargs):
    one = SecondMoment(blocks[0].shape[1], **kwargs)
    for block in blocks:
        one.update(block)
    return one
