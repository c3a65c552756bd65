"""Captions are read from the docstrings of items, and items stand in the order of the papers."""

import pytest

from engram.drawing import captions


def test_a_caption_has_a_first_sentence_and_a_place(tmp_path):
    path = tmp_path / "fig2.py"
    path.write_text('"""Effects, i.e. means\nper layer. Lines are\nmedians. PAPER: ROME Fig. 2."""\n')
    found = captions.read(path)
    assert found.place == "ROME Fig. 2" and found.text == "Effects, i.e. means per layer. Lines are medians."
    assert found.text.startswith(found.shows) and found.text.endswith(found.method)
    path.write_text('"""Effects. PAPER: ROME Fig. 2."""\n')
    assert captions.read(path).shows == "Effects" and captions.read(path).method == ""


@pytest.mark.parametrize(
    "code", ["", '"""Effects."""', '"""PAPER: ROME Fig. 2."""', '"""Effects. PAPER: ROME Fig. 2"""']
)
def test_a_caption_without_its_place_is_refused(tmp_path, code):
    (tmp_path / "fig2.py").write_text(code)
    with pytest.raises(ValueError, match=r"fig2\.py: the docstring must be a caption"):
        captions.read(tmp_path / "fig2.py")


def test_items_are_in_the_order_of_their_numbers():
    assert captions.ordered(["rome/fig10", "memit/fig2", "rome/fig2"]) == ["rome/fig2", "rome/fig10", "memit/fig2"]


def test_a_caption_says_that_weights_were_quantised():
    caption = captions.Caption("What is shown. How.", "ROME Fig. 2")
    assert caption.of_weights("Q4_1") == ("What is shown. How. Q4_1 weights, dequantised.", "ROME Fig. 2")
    assert caption.of_weights(None) == caption
