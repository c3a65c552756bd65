"""Text that fits: printable characters, marked words, lines that end before the margin."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.font_manager import findfont

from engram.drawing import prose, style
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


def test_whole_words_are_marked_longest_first():
    pieces = prose.mark("New York, york and Yorkshire, new york.", {"York": "true", "New York": "new"})
    marked = [piece for piece in pieces if piece[1] != "plain"]
    assert marked == [("New York", "new"), ("york", "true"), ("new york", "new")]
    assert "".join(text for text, _ in pieces) == "New York, york and Yorkshire, new york."
    assert prose.mark("a b", {" ": "new"}) == [("a b", "plain")]


def test_lines_keep_all_words_and_end_before_the_limit():
    pieces = [("It is", "prompt"), *prose.mark(" Rome, " + "so it is Rome; " * 20 + "x" * 100, {"Rome": "new"})]
    lines = prose.flow(pieces, 150, 99)
    for line in lines:
        x, text, kind = line[-1]
        assert x + prose.width_pt(text, kind) <= 150.01 or len(text) == 40  # a cut word may stand alone
    squeezed = "".join(text for line in lines for _, text, _ in line).replace(" ", "")
    assert squeezed == "".join(text for text, _ in pieces).replace(" ", "")


def test_too_many_lines_end_in_an_ellipsis_that_fits():
    lines = prose.flow([("word " * 100, "plain")], 120, 3)
    assert len(lines) == 3 and lines[-1][-1][1].endswith("…")
    assert lines[-1][-1][0] + prose.width_pt(lines[-1][-1][1]) <= 120.01


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
