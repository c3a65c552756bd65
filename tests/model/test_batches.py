"""Batches of items whose models differ: every item once, in its place, whatever the threads."""

import pytest
import torch

from engram.model import batches
from engram.model.delta import NOTHING, Delta
from toy import lm


@pytest.fixture
def seen():
    """The batches that `compute` was given, one list of items each."""
    return []


@pytest.fixture
def compute(seen):
    """Ten times every item, after its batch was noted."""

    def tenfold(own, items):
        seen.append(list(items))
        return [10 * item for item in items]

    return tenfold


def test_every_item_is_in_one_even_batch_of_models_that_may_share_one(seen, compute):
    low = (torch.ones(32, 1), torch.ones(128, 1))
    deltas = [Delta({1: low}), Delta({2: low}), Delta({1: torch.ones(32, 128)})]
    which, order = [0, 1, 0, 2, 0, 0, 1], [3, 1, 2, 1, 9, 1, 1]
    results = batches.map_sorted(lm("gpt2"), range(7), compute, "item", order, 3, deltas, which, 1)
    assert results == [0, 10, 20, 30, 40, 50, 60]
    assert sorted(i for batch in seen for i in batch) == list(range(7))
    assert max(map(len, seen)) <= 3
    for batch in seen:
        assert [order[i] for i in batch] == sorted(order[i] for i in batch)


def test_items_whose_changes_cannot_be_stacked_do_not_share_a_batch(seen, compute):
    model = lm("gpt2")
    embedding = Delta({"transformer.wte.weight": torch.ones_like(model.module("embed").weight)})
    batches.map_sorted(model, [0, 1, 2, 3], compute, "item", [0] * 4, 9, [NOTHING, embedding], [1, 0, 1, 0], 2**20)
    assert sorted(seen) == [[0, 2], [1, 3]]


def test_no_items_make_no_batch(seen, compute):
    assert batches.map_sorted(lm("gpt2"), [], compute, "item", [], 3) == [] == seen


def test_results_are_those_of_the_items_in_their_order():
    parts = [[3, 1], [4], [1, 5, 9]]
    found = batches.map_batches(lm("gpt2"), parts, lambda own, items: [item * own.layers for item in items], "item")
    assert found == [[item * 4 for item in part] for part in parts]
