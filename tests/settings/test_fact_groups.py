"""FactGroup: the word n, read and written, and where batches are read."""

import numpy as np
import pytest

from engram.settings.fact_groups import FactGroup

WORDS = {
    1: FactGroup(1),
    "7": FactGroup(7),
    "12by3": FactGroup(12, 3),
    "12of3": FactGroup(12, ranks=(3,)),
    "12by1of3+10": FactGroup(12, 1, (3, 10)),
    np.int64(100): FactGroup(100),
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_read_and_written(word):
    group = FactGroup.parse(word)
    assert group == WORDS[word] and str(group) == f"{group}" == str(word)
    assert str(group.column) == str(word) and isinstance(group.column, int) == str(word).isdecimal()
    assert group.alone == (word == 1)


@pytest.mark.parametrize(
    "word", ["by", "0", "3by", "by3", "3by0", "-1", "1.5", "3by1by1", "x", "3of", "3of0", "3of1+", "of1", "3of1by1"]
)
def test_another_form_is_refused(word):
    with pytest.raises(ValueError, match="right is a number of facts, <facts>by<batch>"):
        FactGroup.parse(word)


def test_checkpoints_are_the_numbers_of_the_paper():
    assert FactGroup(1000, 1).checkpoints(1000) == [1, 2, 3, 6, 10, 18, 32, 56, 100, 178, 316, 562, 1000]
    assert FactGroup(10000, 100).checkpoints(10000) == [100, 300, 500, 1000, 1700, 3100, 5600, 10000]
    assert FactGroup(100, 32).checkpoints(70) == [32, 70], "of the facts that are left"
    assert FactGroup(3, 10).checkpoints(3) == [3] and FactGroup(1, 1).checkpoints(1) == [1]
    with pytest.raises(ValueError, match="only batches have checkpoints"):
        FactGroup(100).checkpoints(100)
