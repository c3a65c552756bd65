"""Running text in figures: words with marks of their own, in lines that end before the margin. A piece is (text,
style).

Lengths are inches unless a name ends in `_pt` (points, 1/72 inch).
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from engram.drawing.style import DOUBLE, FONT, NEW, SIZE, TRUE, figure, finish, printable

Piece = tuple[str, str]  # text, style
Line = list[tuple[float, str, str]]  # place in points, text, style
LEADING_PT = SIZE * 1.35
MARGIN, GAP, STEP = 0.08, 0.12, 0.04  # inches: edges of a page, above and below its rules, between entries

TEXT_STYLES: dict[str, dict[str, Any]] = {
    "plain": {},
    "bold": {"weight": "bold"},
    "prompt": {"style": "italic", "color": "0.35"},
    "new": {"weight": "bold", "color": NEW},
    "true": {"weight": "bold", "color": TRUE},
}


def fit(text: str, limit_pt: float, most: int = 2) -> str:
    """Printable text in at most `most` lines of `limit_pt`, an ellipsis for the rest."""
    lines = flow([(printable(text).strip(), "plain")], limit_pt, most)
    return "\n".join("".join(piece for _, piece, _ in line) for line in lines)


def width_pt(text: str, style: str = "plain") -> float:
    """Width of printable text in points, from the font's own metrics."""
    font = {key: value for key, value in TEXT_STYLES[style].items() if key != "color"}
    return text_to_path.get_text_width_height_descent(text, FontProperties(family=FONT, size=SIZE, **font), False)[0]


def mark(text: str, words: dict[str, str]) -> list[Piece]:
    """Pieces of printable text in which each whole-word occurrence of a key of `words` has that key's style."""
    words = {printable(word).strip().casefold(): style for word, style in words.items()}
    longest_first = sorted((word for word in words if word), key=len, reverse=True)
    if not longest_first:
        return [(text, "plain")]
    pattern = r"(?<!\w)(" + "|".join(re.escape(word) for word in longest_first) + r")(?!\w)"
    parts = re.split(pattern, text, flags=re.IGNORECASE)
    return [
        (part, words.get(part.casefold(), "plain") if index % 2 else "plain")
        for index, part in enumerate(parts)
        if part
    ]


def flow(pieces: Iterable[Piece], limit_pt: float, most: int) -> list[Line]:
    """Fill lines of `limit_pt` with the words of `pieces`; after `most` lines the text ends in an ellipsis."""
    lines: list[Line] = []
    line: Line = []
    x = 0.0
    for word in _words(pieces):
        size = sum(width_pt(text, style) for text, style in word)
        gap = width_pt(" ") if line else 0.0
        if line and x + gap + size > limit_pt:
            lines, line, x, gap = [*lines, line], [], 0.0, 0.0
        for text, style in word:
            if line and line[-1][2] == style == "plain":
                line[-1] = (line[-1][0], line[-1][1] + " " * (gap > 0) + text, style)
            else:
                line.append((x + gap, text, style))
            gap, x = 0.0, line[-1][0] + width_pt(line[-1][1], style)
    lines = [*lines, line] if line else lines
    if len(lines) > most:
        lines = lines[:most]
        x, text, style = lines[-1][-1]
        while len(text) > 1 and x + width_pt(text + " …", style) > limit_pt:
            text = text.rpartition(" ")[0] or text[:-1]  # whole words, while there are several
        lines[-1][-1] = (x, text + " …", style)
    return lines


def _words(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Lists of (text, style) without white space: a word may be made of several pieces; very long words are cut."""
    word: list[Piece] = []
    for text, style in pieces:
        for part in re.split(r"( +)", text):
            if part.isspace():
                yield from [word] if word else []
                word = []
            for start in range(0, len(part.strip()), 40):
                if start:
                    yield word
                    word = []
                word = [*word, (part[start : start + 40], style)]
    if word:
        yield word


def write_lines(fig: Figure, lines: list[Line], left: float, top: float, leading_pt: float = LEADING_PT) -> float:
    """Put lines of text on the figure, their first baseline one line below `top`; returns where the last one ends.

    `left` and `top` are inches from the left and from the upper edge of the figure.
    """
    width, height = fig.get_size_inches()
    for line in lines:
        top += leading_pt / 72
        for x_pt, text, style in line:
            fig.text((left + x_pt / 72) / width, 1 - top / height, text, va="baseline", **TEXT_STYLES[style])
    return top


def page(blocks: list[list[tuple[str, list[Piece]]]], most: int) -> Figure:
    """A page of text, double-column width: blocks between rules, each a list of entries (label, pieces of running
    text).

    A text ends after `most` lines, in an ellipsis; labels stand in a column as wide as the widest, and an entry with
    none belongs to the one above it.
    """
    labels = {label for block in blocks for label, _ in block}
    column = max(width_pt(label, "bold") for label in labels if label) / 72 + 0.12
    limit = (DOUBLE - 2 * MARGIN - column) * 72
    laid = [[(label, flow(pieces, limit, most)) for label, pieces in block] for block in blocks]
    steps = sum(bool(place and label) for block in laid for place, (label, _) in enumerate(block))
    height = sum(max(len(lines), 1) for block in laid for _, lines in block) * LEADING_PT / 72 + steps * STEP
    fig = figure(DOUBLE, height + (len(blocks) - 1) * 2 * GAP + 2 * MARGIN)
    top = MARGIN - 0.02
    for index, block in enumerate(laid):
        if index:
            y, edge = 1 - (top + GAP) / fig.get_figheight(), MARGIN / DOUBLE
            fig.add_artist(Line2D([edge, 1 - edge], [y, y], color="0.7", linewidth=0.5, transform=fig.transFigure))
            top += 2 * GAP
        for place, (label, lines) in enumerate(block):
            top += STEP * bool(place and label)
            below = write_lines(fig, [[(0.0, label, "bold")]] if label else [], MARGIN, top)
            top = max(below, write_lines(fig, lines, MARGIN + column, top))
    return finish(fig)
