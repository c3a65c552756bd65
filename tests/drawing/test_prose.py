"""Prose: whole words are marked, lines end before the margin."""

from engram.drawing import prose


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
