"""Canonical tables: a row that does not fit is named."""

import pytest

from engram.datasets.canonical_tables import table


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"article_id": 1}, "expected .'article_id', 'text', 'title'."),
        ({"article_id": "1", "title": "a", "text": "b"}, "column article_id: '1' is not a int64"),
    ],
)
def test_tables_name_what_is_wrong(row, message):
    with pytest.raises(ValueError, match=message):
        table("text", [row])
