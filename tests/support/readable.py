"""What any reader needs of a figure: text inside the page, no text on other text, none too small; lines that stand
out.
"""

import itertools

import matplotlib.text
from matplotlib.colors import to_rgba

# tokens that are long, hold line breaks or signs of TeX, or are written in signs that the main font lacks
AWKWARD = [
    "The",
    " mother",
    " tongue",
    " of",
    " Supercalifragilisticexpialidocious",
    " von",
    " Wittgen",
    "stein",
    "-Hohen",
    "zollern",
    " 東京",
    "\n",
    " costs $x_{",
    " widely spoken in the",
    " language",
]


def drawn_texts(fig, monkeypatch) -> list:
    """(string, extent) of every text that reaches the canvas."""
    seen, draw = [], matplotlib.text.Text.draw

    def recording(self, renderer, *args, **kwargs):
        if self.get_visible() and self.get_text().strip():
            seen.append((self.get_text(), self.get_window_extent(renderer)))
        return draw(self, renderer, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(matplotlib.text.Text, "draw", recording)
        fig.draw_without_rendering()
    return seen


def contrast(colour) -> float:
    """Contrast of a colour with white, 1 to 21 (WCAG 2): (1 + 0.05) / (luminance + 0.05)."""
    red, green, blue, alpha = to_rgba(colour)
    parts = [alpha * part + 1 - alpha for part in (red, green, blue)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


def assert_readable(fig, monkeypatch):
    """All text inside the page, no two texts on each other, nothing under 7 pt; text and lines 3:1 against white."""
    texts = drawn_texts(fig, monkeypatch)
    assert texts
    width, height = fig.bbox.size
    for text, box in texts:
        inside = box.x0 >= -0.5 and box.y0 >= -0.5 and box.x1 <= width + 0.5 and box.y1 <= height + 0.5
        assert inside, f"{text!r} leaves the page: {box} of {width} x {height}"
    for (one, a), (other, b) in itertools.combinations(texts, 2):
        overlap = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        # Line boxes hold room for accents and descenders: only overlap beyond that is two texts on each other.
        assert overlap[0] < 2 or overlap[1] < 6, f"{one!r} and {other!r} overlap by {overlap} pixels"
    assert min(text.get_fontsize() for text in fig.findobj(matplotlib.text.Text)) >= 7
    for text in fig.findobj(matplotlib.text.Text):
        if text.get_visible() and text.get_text().strip():
            assert contrast(text.get_color()) >= 3, f"{text.get_text()!r} is too pale: {text.get_color()}"
    for ax in fig.axes:
        for line in ax.lines:
            assert contrast(line.get_color()) >= 3, f"a line {line.get_label()!r} is too pale: {line.get_color()}"
