"""Second moments of the keys of every wanted layer from one pass over the text (ROME eq. 2's C).

The reference goes through the text once per layer. Here one forward, which ends at the last wanted layer, feeds them
all. The texts and their batches are fixed by the whole list; shards are runs of whole batches, after each of which a
job can resume. The statistic itself, and what is solved with it, is engram.editing.second_moment.
Shapes: B rows, T tokens, n tokens that are no padding, D keys.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from engram.editing.second_moment import Moment, SecondMoment, bytes_of
from engram.job import progress, resuming
from engram.model import tokens
from engram.model.halving import halving
from engram.model.hooks import Stop, call_until_stop
from engram.model.loading import LM

Batch = list[np.ndarray]  # token ids of the texts that one forward reads
Take = Callable[[int, torch.Tensor], None]  # (layer, keys [n, D] or [B, T, D])

DTYPES = {"float64": torch.float64, "float32": torch.float32}


def fingerprint(articles: pd.DataFrame) -> str:
    """Hash (hexadecimal) of the texts of a table with columns `article_id` and `text`, in their order."""
    digest = hashlib.sha256()
    for name, text in zip(articles["article_id"], articles["text"]):
        digest.update(json.dumps([int(name), text]).encode())
    return digest.hexdigest()


def token_rows(tokenizer: PreTrainedTokenizerBase, texts: list[str], limit: int, step: int = 256) -> list[np.ndarray]:
    """Token ids of every text alone, behind the start token where there is one, cut at `limit`; none of an empty text.

    The start token's key counts as any other, as in the original code with such a tokenizer.
    """
    rows, begin = [], tokens.start(tokenizer)
    with progress.bar(None, "covariance: tokenizing", " articles", total=len(texts)) as bar:
        for start in range(0, len(texts), step):
            ids = tokenizer(texts[start : start + step], add_special_tokens=False, verbose=False)["input_ids"]
            rows += [np.array((begin + row)[:limit] if row else [], dtype=np.int32) for row in ids]
            bar.update(len(ids))
    return rows


def articles_of(lm: LM, texts: Sequence[str], limit: int, count: int) -> int:
    """How many of the first `texts`, each cut at `limit` tokens, hold `count` tokens together; all if fewer."""
    start, held = len(tokens.start(lm.tokenizer)), 0
    for number, text in enumerate(texts, 1):
        held += min(limit, start + len(tokens.encode(lm.tokenizer, text))) if text else 0
        if held >= count:
            return number
    return len(texts)


def batches(rows: Sequence[np.ndarray], budget: int, group: int = 100) -> list[Batch]:
    """Rows in batches of at most `budget` padded tokens: groups of `group` rows in order, longest first within a group.

    Empty rows are dropped; a row longer than `budget` is a batch of its own. The batches depend on nothing but the
    rows.
    """
    done: list[Batch] = []
    for start in range(0, len(rows), group):
        batch: Batch = []
        for row in sorted((r for r in rows[start : start + group] if len(r)), key=len, reverse=True):
            if batch and len(batch[0]) * (len(batch) + 1) > budget:
                done.append(batch)
                batch = []
            batch.append(row)
        if batch:
            done.append(batch)
    return done


@torch.no_grad()
def second_moments(
    lm: LM,
    layers: list[int],
    texts: list[str],
    max_tokens: int,
    budget: int,
    dtype: torch.dtype = torch.float64,
    store: resuming.Store | None = None,
    memory: int | None = None,
) -> dict[int, Moment]:
    """Second moment of the keys of every layer in `layers` over all tokens of `texts`, each cut at `max_tokens`.

    `budget`: padded tokens per forward. `store` keeps finished shards, of float32 one, as its sums depend on how
    they are grouped. `memory`: bytes on the device for the sums; layers that do not fit together take another pass over
    the text (None: what is free on a CUDA device, all at once elsewhere). Neither the number of shards nor `memory`
    changes a bit of the result. MemoryError if the sum of one layer does not fit. ValueError for a layer that the model
    lacks, or texts without a token.
    """
    if not layers or not set(layers) <= set(range(lm.layers)):
        raise ValueError(f"layers {sorted(layers)} of {lm.name}, whose layers are 0 to {lm.layers - 1}")
    todo = batches(token_rows(lm.tokenizer, texts, max_tokens), budget)
    if not todo:
        raise ValueError(f"no text of {len(texts)} has a token: there are no keys to count")
    feed = Feed(lm, sum(len(row) for batch in todo for row in batch))
    if memory is None and lm.device.type == "cuda":
        memory = _free_bytes(feed, sorted(set(layers)), todo[0], dtype)
    store = store or resuming.Store()
    parts = resuming.split(todo, 1 if dtype == torch.float32 else store.count)
    passes = store.first_value("passes", _passes(lm, sorted(set(layers)), dtype, memory))
    with progress.bar(None, "covariance", " tokens", total=feed.total * len(passes)) as bar:
        return {
            layer: moment
            for of_pass in passes
            for layer, moment in _one_pass(feed, of_pass, parts, dtype, store, bar).items()
        }


def _passes(lm: LM, layers: list[int], dtype: torch.dtype, memory: int | None) -> list[list[int]]:
    """The layers of every pass over the text: as many as have sums that fit into `memory` bytes together."""
    room = math.inf if memory is None else memory
    passes: list[list[int]] = [[]]
    left = room
    for layer in layers:
        need = bytes_of(lm.key_width(layer), dtype)
        if need > room:
            raise MemoryError(
                f"layer {layer} of {lm.name}: the sum over keys of width {lm.key_width(layer)} takes {need:,} "
                f"bytes, but {max(room, 0):,} are free for it on {lm.device}: a smaller covariance.batch_tokens, "
                "dtype float32 or a device with more memory would help"
            )
        if need > left:
            passes.append([])
            left = room
        passes[-1].append(layer)
        left -= need
    return passes


def _one_pass(
    feed: "Feed", layers: list[int], parts: list[Sequence[Batch]], dtype: torch.dtype, store: resuming.Store, bar: tqdm
) -> dict[int, Moment]:
    """The moments of `layers`, from one pass over the batches of all shards; resumed where the store has a sum."""
    expected = feed.total if dtype == torch.float64 else None
    sums = {
        layer: SecondMoment(feed.lm.key_width(layer), dtype, feed.lm.device, expected, name=f"layer {layer}")
        for layer in layers
    }
    if store.folder is not None:
        store = resuming.Store(store.folder / f"layers-{layers[0]}-{layers[-1]}")
    done, values = store.latest()
    if values is not None:
        _restore(sums, *values["sums.safetensors"])
    resumed = sum(len(row) for part in parts[:done] for batch in part for row in batch)
    for field in ("n", "last_print_n", "initial"):  # counts, but not for the rate
        setattr(bar, field, getattr(bar, field) + resumed)
    for index in range(done, len(parts)):
        for batch in parts[index]:
            feed(layers, batch, lambda layer, keys: sums[layer].update(keys))
            bar.update(sum(map(len, batch)))
        store.save(index, {"sums.safetensors": _states(sums)}, keep_earlier=False)
    return {layer: total.result() for layer, total in sums.items()}


def _states(sums: dict[int, SecondMoment]) -> tuple[dict[str, torch.Tensor], dict[str, dict]]:
    """What `_restore` needs to go on with the sums: tensors `<layer>/<name>`, and numbers by layer."""
    states = {layer: total.state() for layer, total in sums.items()}
    return (
        {f"{layer}/{name}": tensor for layer, (tensors, _) in states.items() for name, tensor in tensors.items()},
        {str(layer): about for layer, (_, about) in states.items()},
    )


def _restore(sums: dict[int, SecondMoment], tensors: dict[str, torch.Tensor], about: dict[str, dict]) -> None:
    """Set the sums to what `_states` returned."""
    for layer, total in sums.items():
        start = f"{layer}/"
        own = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
        total.restore(own, about[str(layer)])


class Feed:
    """Sends batches through a model and hands out the keys; remembers how many tokens at a time the device can hold.

    `total` is the number of tokens of all batches, `room` the number of padded tokens that fit (None: no limit known).
    """

    def __init__(self, lm: LM, total: int) -> None:
        self.lm, self.total = lm, total
        self.room: int | None = None

    def __call__(self, layers: list[int], batch: Batch, take: Take) -> None:
        """Run `batch`, rows of token ids, and call take(layer, keys [n, D]) for every one of `layers`, in their order.

        Where memory runs out the rows go in halves; a layer that had taken the keys of a row does not get them again.
        """
        taken: list[set[int]] = [set() for _ in batch]
        modules = {layer: self.lm.module("value", layer) for layer in layers}

        def compute(chunk: Sequence[int]) -> int:
            rows = [batch[i] for i in chunk]
            ids, _ = tokens.pad([row.tolist() for row in rows], self.lm.device)
            real = real_positions(rows, self.lm.device)

            def keep(layer: int, keys: torch.Tensor) -> None:
                if layer not in taken[chunk[0]]:
                    flat = keys.flatten(0, 1)
                    take(layer, flat if real is None else flat.index_select(0, real))
                    for i in chunk:
                        taken[i].add(layer)

            with keys_going_in(modules, keep):
                call_until_stop(self.lm.hidden, ids)
            return len(chunk)

        size = len(batch) if self.room is None else max(1, min(len(batch), self.room // len(batch[0])))
        held = max(halving(compute, range(len(batch)), size, "row"))
        if held < size:
            self.room = held * len(batch[0])


def real_positions(rows: Batch, device: torch.device) -> torch.Tensor | None:
    """Indices [n], in the flattened padded batch, of the tokens that are no padding; None if there is no padding."""
    width = max(map(len, rows))
    if all(len(row) == width for row in rows):
        return None
    return torch.cat([torch.arange(len(row)) + i * width for i, row in enumerate(rows)]).to(device)


@contextmanager
def keys_going_in(modules: dict[int, torch.nn.Module], take: Take) -> Iterator[None]:
    """During the `with` block a forward calls take(layer, keys [B, T, D]) before each of `modules`, given by layer.

    It ends before the last of them runs (wrap the call in engram.model.hooks.call_until_stop).
    """
    last = max(modules)

    def before(layer: int) -> Callable[[torch.nn.Module, tuple], None]:
        def hook(_module: torch.nn.Module, inputs: tuple) -> None:
            take(layer, inputs[0])
            if layer == last:
                raise Stop

        return hook

    handles = [module.register_forward_pre_hook(before(layer)) for layer, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _free_bytes(feed: Feed, layers: list[int], batch: Batch, dtype: torch.dtype) -> int:
    """Bytes of the CUDA device that sums may take: those free, less what a forward and an update of one layer need."""
    device = feed.lm.device
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    feed(layers, batch, lambda _layer, keys: SecondMoment(keys.shape[1], dtype, device, feed.total).update(keys))
    working = torch.cuda.max_memory_allocated(device) - before
    torch.cuda.empty_cache()
    return int(0.95 * torch.cuda.mem_get_info(device)[0] - 1.1 * working)
