"""Text that fits: printable characters, marked words, lines that end before the margin."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.font_manager import findfont

from engram.drawing import style
from engram.evaluation import indirect_effects


def test_the_font_is_the_bundled_one():
    style.figure(1, 1)
    assert Path(findfont(style.FONT)).is_relative_to(matplotlib.get_data_path())


def test_every_kind_of_token_has_its_line():
    assert tuple(style.CATEGORIES) == indirect_effects.CATEGORIES


def test_a_users_settings_do_not_show():
    matplotlib.rcParams["font.size"] = 30
    matplotlib.rcParams["axes.facecolor"] = "black"
    style.figure(1, 1)
    assert matplotlib.rcParams["font.size"] == 7 and matplotlib.rcParams["axes.facecolor"] == "white"


def test_printable_text_is_one_line_of_known_glyphs():
    assert style.printable("a\n\tb\r\x00c \u2028d") == "a b c d"
    assert style.printable("東x") == "\N{REPLACEMENT CHARACTER}x"
    assert style.printable("$x_{") == "$x_{"
    assert style.token_label(" \n") == "\\n" and style.token_label("  ") == "␣"
    assert style.shorten("abcdefgh", 5) == "abcd…"


def test_methods_have_a_fixed_order_and_unlisted_ones_follow():
    assert style.method_order(["zz", "rome", "aa", "none", "rome"]) == ["none", "rome", "aa", "zz"]
    assert style.method_label("none", "mini") == "Unedited (mini)" and style.method_label("emmet", "mini") == "EMMET"


@pytest.mark.parametrize(("layers", "count"), [(6, 6), (8, 8), (12, 6), (24, 5), (48, 5)])
def test_layers_are_labelled_sparsely(layers, count):
    ax = style.figure(2, 2).subplots()
    style.layer_ticks(ax, layers)
    assert len(ax.get_xticks()) == count


def test_a_flat_heatmap_still_has_a_scale():
    fig = style.figure(2, 2)
    ax = fig.subplots()
    style.heatmap(ax, np.full((2, 3), 0.5), "mlp", 0.5, 0.5, "p")
    style.finish(fig)
    low, high = ax.collections[0].get_clim()
    assert low < high


def test_every_line_can_be_told_from_white_and_from_the_others():
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return np.dot(
            [0.2126, 0.7152, 0.0722], [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        )

    for colour, _, _ in style.CATEGORIES.values():
        assert 1.05 / (luminance(colour) + 0.05) >= 3, colour
    assert len({(str(dashes), marker) for _, dashes, marker in style.CATEGORIES.values()}) == len(style.CATEGORIES)
