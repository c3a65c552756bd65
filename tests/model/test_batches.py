"""Batches of items whose models differ: every item once, in its place, whatever the threads."""

import torch

from engram.model import batches
from engram.model.delta import Delta
from toy import lm


def test_every_item_is_in_one_even_batch_of_models_that_may_share_one():
    model = lm("gpt2")
    low = (torch.ones(32, 1), torch.ones(128, 1))
    dense = torch.ones(32, 128)
    which, order = [0, 1, 0, 2, 0, 0, 1], [3, 1, 2, 1, 9, 1, 1]
    found = batches.sorted_batches(model, [Delta({1: low}), Delta({2: low}), Delta({1: dense})], which, order, 3, 1)
    assert sorted(index for batch in found for index in batch) == list(range(7))
    assert max(map(len, found)) <= 3 and [which[index] for batch in found for index in batch].count(2) == 1
    for batch in found:
        assert [order[index] for index in batch] == sorted(order[index] for index in batch)


def test_results_are_those_of_the_items_in_their_order():
    parts = [[3, 1], [4], [1, 5, 9]]
    found = batches.map_batches(lm("gpt2"), parts, lambda own, items: [item * own.layers for item in items], "item")
    assert found == [[item * 4 for item in part] for part in parts]
