"""Traces in the report: every score once."""

import pandas as pd
import pytest

from engram.report import traced


def test_a_missing_score_is_an_error(finished):
    effects, prompts = (finished.table(f"results/trace/mini/main/{name}.parquet") for name in ("effects", "prompts"))
    for wrong in (
        effects.iloc[1:],
        pd.concat([effects, effects.iloc[:1]]),
        pd.concat([effects.iloc[1:], effects.iloc[1:2]]),
    ):
        with pytest.raises(ValueError, match="expected each of 1,008 once"):
            traced.browser(wrong, prompts, 2, "mini")
