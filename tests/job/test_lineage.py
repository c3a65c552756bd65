"""Records, which show every edit."""

import json

from engram.job import lineage


def test_an_edited_record_shows():
    text = lineage.record_text({"sha256": "ab", "params": {"seed": 0}})
    assert lineage.unsealed(text) == json.loads(text) == lineage.seal(json.loads(text))
    for edited in (text.replace("ab", "ac"), text.replace('"seed": 0', '"seed": 1'), text[:-5], "[]", '{"a": 1}'):
        assert lineage.unsealed(edited) is None, edited
