"""What any reader needs of a figure: text inside the page, no text on other text, none too small."""

import itertools

import matplotlib.text


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


def assert_readable(fig, monkeypatch):
    """All text inside the page, no two texts on each other, nothing under 7 pt."""
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
