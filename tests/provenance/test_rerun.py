"""Artifacts made again in a scratch copy: the same bytes, or it is said."""

import pytest

from engram.provenance import audit, rerun
from tampered_runs import EFFECTS, FIGURE, PROMPTS, forge


def test_made_again(sandbox, asked, library):
    """In a scratch copy: the same bytes, and nothing changes here. A forged artifact has others; broken ones are
    refused.
    """
    before = sandbox.git("status", "--short", "--ignored")
    drawn = rerun.sample(sandbox.path, 3, audit.verify(sandbox.path))
    assert drawn == rerun.sample(sandbox.path, 3, audit.verify(sandbox.path)), "the sample is seeded"
    assert drawn != rerun.sample(sandbox.path, 3, audit.verify(sandbox.path), seed=1)
    compared = [one for path in (drawn[0], EFFECTS) for one in rerun.rerun(sandbox.path, path, asked)]
    assert {drawn[0], EFFECTS, PROMPTS} <= {one.path for one in compared} and all(one.same for one in compared)
    assert sandbox.git("status", "--short", "--ignored") == before
    forge(sandbox, EFFECTS, b"other numbers", everything=True)
    assert {one.path: one.same for one in rerun.rerun(sandbox.path, EFFECTS, asked)} == {EFFECTS: False, PROMPTS: True}
    with pytest.raises(ValueError, match=r"input changed .* only what is in order can be made again"):
        rerun.rerun(sandbox.path, FIGURE, asked)
