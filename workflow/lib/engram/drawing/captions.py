"""What an item of a paper shows: the docstring of its code is its caption, in the README and in the report alike."""

import ast
import re
from pathlib import Path
from typing import NamedTuple


class Caption(NamedTuple):
    """`text`: what is shown and how, sentences that each end in a full stop; `place`: where the papers have it, `ROME
    Fig. 2`.
    """

    text: str
    place: str

    @property
    def shows(self) -> str:
        """The first sentence, without its full stop."""
        return re.split(r"(?<=[^.])\. |\.$", self.text)[0]

    @property
    def method(self) -> str:
        """What follows the first sentence; empty if nothing does."""
        return self.text[len(self.shows) + 1 :].strip()

    def of_weights(self, quantisation: str | None) -> "Caption":
        """The same of a model whose weights were quantised, if `quantisation` says how, and then dequantised."""
        return self._replace(text=f"{self.text} {quantisation} weights, dequantised.") if quantisation else self


def read(path: Path) -> Caption:
    """The caption in the code at `path`. ValueError if it does not end in `PAPER: <paper and number>.`"""
    doc = " ".join((ast.get_docstring(ast.parse(Path(path).read_text(encoding="utf-8"))) or "").split())
    if not re.search(r" PAPER: [^:]+\.$", doc):
        raise ValueError(
            f"{path}: the docstring must be a caption that ends in `PAPER: <paper and number>.`; it is "
            "shown in README.md"
        )
    text, place = doc.rsplit(" PAPER: ", 1)
    return Caption(text, place[:-1])


def natural(path: Path) -> list:
    """Sort key in which fig2 comes before fig10."""
    return [part.zfill(9) if part.isdigit() else part for part in re.split(r"(\d+)", path.as_posix())]


def ordered(items: list[str]) -> list[str]:
    """Papers as they come, items in the order of their numbers there."""
    papers = list(dict.fromkeys(item.split("/")[0] for item in items))
    return sorted(items, key=lambda item: (papers.index(item.split("/")[0]), natural(Path(item))))
