"""Which architectures a test of several cases takes when there is little time."""

from collections.abc import Iterable

import pytest

from toy import ARCHITECTURES


def crossed(cases: Iterable, kinds: Iterable[str] = ARCHITECTURES, whole: tuple[str, ...] = ("gpt2", "gemma3_text")):
    """Parameters (kind, case): every case on the architectures of `whole`, and every other architecture with one case,
    in turn. All other pairs are `long`.
    """
    cases = list(cases)
    return [
        pytest.param(kind, case, marks=() if kind in whole or (row - column) % len(cases) == 0 else pytest.mark.long)
        for row, kind in enumerate(kinds)
        for column, case in enumerate(cases)
    ]
