"""Tables behind traced figures: incomplete effects are refused."""

import pytest

from engram.drawing import trace_tables


def test_incomplete_effects_are_refused(fakes):
    traced = fakes.traced(3)
    effects = fakes.effects(traced)
    gone = effects[(effects["prompt_id"] == 1) & (effects["site"] == "mlp")].index[0]
    with pytest.raises(ValueError, match="prompt_id 1, site mlp: 55 rows"):
        trace_tables.cells(effects.drop(index=gone), [("main", 1)])
