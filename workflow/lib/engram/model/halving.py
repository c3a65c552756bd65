"""Work in chunks that fit into memory: when one does not fit, chunks are halved and the work goes on."""

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")  # in plain RuntimeErrors
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class ChunkLimit:
    """What several calls of `halving` have learnt: the largest chunk that may fit; None until one did not fit."""

    size: int | None = None


def halving(
    compute: Callable[[Sequence[Item]], Result],
    items: Sequence[Item],
    size: int,
    what: str = "item",
    limit: ChunkLimit | None = None,
) -> Iterator[Result]:
    """Yields `compute(chunk)` for consecutive chunks of `items` with at most `size` of them.

    Where the device is out of memory the size is halved, for this chunk and all that follow (also of later calls with
    the same `limit`), with one warning on stderr. `compute` must leave nothing behind when it fails. MemoryError, with
    the name `what` and the item, if one alone does not fit. ValueError if `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"chunks of {size} {what}s: at least 1 is needed")
    start, limit = 0, limit or ChunkLimit()
    while start < len(items):
        chunk, failed = items[start : start + min(size, limit.size or size)], None
        try:
            result = compute(chunk)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            failed = str(error).partition("\n")[0] or type(error).__name__
        if failed is None:
            yield result
            del result
            start += len(chunk)
            continue
        _free()  # outside of `except`: the traceback holds the tensors of the failed chunk
        if len(chunk) == 1:
            raise MemoryError(
                f"{what} {start} ({_short(chunk[0])}) does not fit into memory on its own: a shorter text, a "
                f"smaller model, a narrower dtype or a device with more memory would help; torch said: {failed}"
            )
        if limit.size is None:
            print(
                f"warning: out of memory with {len(chunk)} {what}s at a time; going on with {len(chunk) // 2}, and "
                "fewer if needed (a smaller batch in the settings avoids the attempt)",
                file=sys.stderr,
            )
        limit.size = min(len(chunk) // 2, limit.size or size)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory, the device's or the machine's, is full."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


def _free() -> None:
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


def _short(item: object) -> str:
    text = " ".join(repr(item).split())
    return text if len(text) <= 120 else text[:119] + "…"
