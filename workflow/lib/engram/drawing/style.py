"""One look for every figure: page sizes, bundled fonts, colours, names of sites and methods, text on one line.

Figures are built without pyplot: nothing is shown, and no window or global state decides what a file looks like.
Lengths are inches unless a name ends in `_pt` (points, 1/72 inch).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike

SINGLE, DOUBLE = 3.25, 6.75  # width of one column and of both columns of a two-column page
FONT, SIZE = "DejaVu Sans", 7.0  # shipped with matplotlib, so the same on every machine
RC: dict[str, Any] = {
    "font.family": FONT,
    "font.size": SIZE,
    "axes.titlesize": SIZE + 1,
    "axes.labelsize": SIZE,
    "xtick.labelsize": SIZE,
    "ytick.labelsize": SIZE,
    "legend.fontsize": SIZE,
    "figure.titlesize": SIZE + 1,
    "figure.dpi": 200,
    "savefig.dpi": "figure",
    "pdf.fonttype": 42,
    "text.parse_math": False,
    "text.hinting": "no_hinting",
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "lines.linewidth": 1.2,
    "figure.constrained_layout.w_pad": 0.04,
    "figure.constrained_layout.h_pad": 0.04,
}
SIGNED = "RdBu_r"  # of values of either sign: red positive, blue negative
NO_DATA = "0.88"  # grey behind cells that no prompt has


@dataclass(frozen=True)
class Site:
    """How one kind of restored activation is named and coloured. # PAPER: ROME Fig. 2 (purple, green, red)."""

    title: str
    unit: str  # what a window restores
    colormap: str


SITES = {
    "hidden": Site("Hidden state restored", "layer", "Purples"),
    "mlp": Site("MLP restored", "MLP", "Greens"),
    "attn": Site("Attention restored", "attention", "Reds"),
}
# PAPER: ROME Fig. 7, the colours of its six lines (matplotlib's tab10; its orange is darkened to 3:1 against white).
# Marker and dashes tell them apart without colour: colour, line, marker.
CATEGORIES = {
    "First subject token": ("#1f77b4", "--", "^"),
    "Middle subject tokens": ("#d96a00", ":", None),
    "Last subject token": ("#2ca02c", "-", "o"),
    "First subsequent token": ("#9467bd", "-.", None),
    "Further tokens": ("#8c564b", (0, (4, 1, 1, 1, 1, 1)), None),
    "Last token": ("#d62728", "-", "s"),
}
SEVERED = {  # PAPER: ROME Fig. 3, its green darkened to 3:1; the hatch tells the bars apart without colour
    "hidden": ("Effect of a single state", "#7261ab", None),
    "no_attn": ("Effect with attention severed", "#f3201b", None),
    "no_mlp": ("Effect with MLPs severed", "#1a961a", "//////"),
}
METHODS = {
    "none": "Unedited",
    "ft": "FT",
    "ft-tf": "FT, teacher-forced",
    "ft-l": "FT+L",
    "ft-l-tf": "FT+L, teacher-forced",
    "ft-w": "FT-W",
    "attn-edit": "AttnEdit",
    "kn": "KN",
    "ke": "KE",
    "ke-cf": "KE-CF",
    "ke-zsre": "KE-zsRE",
    "mend": "MEND",
    "mend-cf": "MEND-CF",
    "mend-zsre": "MEND-zsRE",
    "rome": "ROME",
    "r-rome": "R-ROME",
    "memit": "MEMIT",
    "memit-seq": "MEMIT-seq",
    "pmet": "PMET",
    "emmet": "EMMET",
    "alphaedit": "AlphaEdit",
}  # rows in the order of ROME table 4; an unlisted method follows, under its slug in capitals
# The line of every editor, the same in all figures: colour (of its family, >= 3:1 against white), dashes, marker; no
# two share
# dashes and marker, so that they are told apart without colour too.
LINES = {
    "ft": ("#5e3c99", "-", "v"),
    "ft-tf": ("#5e3c99", "--", "v"),
    "ft-l": ("#a0559c", "-", "<"),
    "ft-l-tf": ("#a0559c", "--", "<"),
    "ft-w": ("#9467bd", ":", "D"),
    "attn-edit": ("#c9388c", "-", "P"),
    "kn": ("#555555", "-", "X"),
    "ke": ("#8c564b", "-", "p"),
    "ke-cf": ("#8c564b", "--", "p"),
    "ke-zsre": ("#8c564b", ":", "p"),
    "mend": ("#2a922a", "-.", "^"),
    "mend-cf": ("#2a922a", "-", "^"),
    "mend-zsre": ("#2a922a", ":", "^"),
    "rome": ("#d96a00", "--", "s"),
    "r-rome": ("#d96a00", ":", "s"),
    "memit": ("#1f77b4", "-", "o"),
    "memit-seq": ("#1f77b4", "--", "o"),
    "pmet": ("#0b7a75", "-.", "*"),
    "emmet": ("#d62728", "-", ">"),
    "alphaedit": ("#7a7a00", "--", "h"),
}
OTHERS = [
    ("#000000", dashes, marker) for marker in ("d", "8", "x", "+") for dashes in ("-", "--", ":", "-.")
]  # unlisted ones
NEW, TRUE = "#d55e00", "#0072b2"  # the object an edit writes, the object it overwrites


def figure(width: float, height: float) -> Figure:
    """An empty figure of the given size in inches, with matplotlib's own defaults plus `RC` in force."""
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(RC)  # type: ignore[arg-type]  # the stubs take each key as a literal
    return Figure(figsize=(width, height), layout="constrained")


def finish(fig: Figure) -> Figure:
    """Lay the figure out once and freeze it, so that every file written from it shows the same picture."""
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    return fig


def method_label(method: str, model: str) -> str:
    """Name of a table row: `Unedited (mini)`, `ROME`."""
    return f"{METHODS['none']} ({model})" if method == "none" else METHODS.get(method, method.upper())


def method_order(methods: Iterable[str]) -> list[str]:
    """The distinct methods in the order of `METHODS`, unlisted ones last and alphabetically."""
    known = list(METHODS)
    return sorted(set(methods), key=lambda m: (known.index(m) if m in known else len(known), m))


def method_looks(methods: Iterable[str]) -> dict[str, tuple]:
    """Colour, dashes and marker of each editor's line: those of `LINES` always look the same, unlisted ones follow in
    order.
    """
    ordered = method_order(methods)
    unlisted = [method for method in ordered if method not in LINES]
    return {
        method: LINES[method] if method in LINES else OTHERS[unlisted.index(method) % len(OTHERS)] for method in ordered
    }


def layer_label(site: str, window: int | None, model: str) -> str:
    """What the x axis counts, in words, on two lines."""
    if site == "hidden":
        return f"single restored layer\nwithin {shorten(model, 30)}"
    return f"center of interval of\n{window} restored {SITES[site].unit} layers"


def layer_ticks(ax: Axes, layers: int, offset: float = 0.0) -> None:
    """Label every layer of a small model, every 2nd, 5th or 10th of a deeper one; `offset` moves to cell centres."""
    step = next((s for limit, s in ((8, 1), (16, 2), (32, 5)) if layers <= limit), 10)
    ticks = np.arange(0, layers, step)
    ax.set_xticks(ticks + offset, [str(tick) for tick in ticks])


def log_places(values: ArrayLike) -> list[float]:
    """Round numbers on a logarithmic axis: 1, 2 and 5 times powers of ten between the smallest and the largest value,
    or the powers alone if those are many.
    """
    low, high = float(np.min(values)), float(np.max(values))
    for digits in ((1, 2, 5), (1,)):
        places = [
            digit * 10.0**power for power in range(-12, 13) for digit in digits if low <= digit * 10.0**power <= high
        ]
        if 0 < len(places) <= 6:
            return places
    return places[:: len(places) // 6 + 1] or [high]


def log_axis(axis: Axis, values: ArrayLike) -> None:
    """A logarithmic axis (`ax.xaxis`, `ax.yaxis`) with round numbers for these values."""
    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")  # type: ignore[attr-defined]  # missing in the stubs
    axis.set_ticks(
        log_places(values), labels=[f"{place:,.0f}" if place >= 1 else f"{place:g}" for place in log_places(values)]
    )
    axis.set_minor_locator(NullLocator())


def heatmap(
    ax: Axes, cells: ArrayLike, site: str, low: float, high: float, label: str, colormap: str | None = None
) -> None:
    """`cells` (rows R, layers L) from the top row down, with a colour bar; NaN cells stay grey.

    `colormap`: another than the site's.
    """
    values = np.asarray(cells, dtype=float)
    rows, layers = values.shape
    high = high if high > low else low + 1e-3  # an all-equal picture still needs a scale
    mesh = ax.pcolormesh(
        np.ma.masked_invalid(values),
        cmap=colormap or SITES[site].colormap,
        vmin=low,
        vmax=high,
        edgecolors="face",
        linewidth=0.2,
    )
    ax.set_facecolor(NO_DATA)
    ax.set(xlim=(0, layers), ylim=(rows, 0))
    layer_ticks(ax, layers, 0.5)
    bar = ax.figure.colorbar(mesh, cax=ax.inset_axes((1.04, 0, 0.05, 1)))
    bar.outline.set_linewidth(0.4)
    places = [low, (low + high) / 2, high]  # the ends: what the colours of different panels can be compared by
    bar.set_ticks(places, labels=[f"{place:.{2 if high - low > 0.02 else 3}f}" for place in places])
    for label_of, side in zip(bar.ax.get_yticklabels(), ("bottom", "center", "top")):
        label_of.set(verticalalignment=side)  # inside the height of the bar, away from titles above
    bar.set_label(label, labelpad=3)


@cache
def _glyphs() -> frozenset:
    return frozenset(get_font(findfont(FONT)).get_charmap())


def printable(text: str) -> str:
    """`text` on one line in characters that the font has: white space collapsed, the rest U+FFFD. For display only."""
    text = re.sub(r"\s+", " ", "".join(" " if char in "\x00\x1c\x1d\x1e\x1f\u2028\u2029" else char for char in text))
    return "".join(char if ord(char) in _glyphs() else "\N{REPLACEMENT CHARACTER}" for char in text)


def shorten(text: str, length: int) -> str:
    """At most `length` characters of printable text, an ellipsis for the rest."""
    text = printable(text).strip()
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def token_label(text: str, length: int = 16) -> str:
    """One token as a row label: without outer blanks, line ends written out."""
    return shorten(text.replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t"), length) or "␣"
