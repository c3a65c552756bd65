"""The parts of README.md that a run or params.yaml decides: numbers, the table, the gallery, the list of items.

README.md holds marked blocks, `<!-- begin:NAME -->` … `<!-- end:NAME -->`, each marker on a line of its own. `main`
fills them from the figures folder of one model alone (csv, md and png files; it is part of the repository, so a fresh
clone can check it), and with `--check` only says which block is stale.

    numbers   sentences with measured numbers, from rome/fig2_average_traces.csv, rome/fig3_severed.csv and
              rome/table4_counterfact.csv
    table4    rome/table4_counterfact.md
    gallery   pictures with their captions: the docstring of the code that draws it. The marker may say which, and in
              which order (`<!-- begin:gallery rome/fig7_lines … -->`); else every picture of the folder
    items     every item of `paper:` in params.yaml: what it is in the paper, what it shows, the command, the code
"""

import argparse
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from engram.drawing import captions
from engram.settings import params

BEGIN = re.compile(r"^<!-- begin:(\S+)((?: \S+)*) -->$", re.MULTILINE)
BLOCK = re.compile(BEGIN.pattern[:-1] + r"\n(.*?)^<!-- end:(\S+) -->$", re.MULTILINE | re.DOTALL)
TRACES, SEVERED, TABLE = "rome/fig2_average_traces.csv", "rome/fig3_severed.csv", "rome/table4_counterfact"


def blocks(figures: Path, code: Path, base: Path, items: list[str], shown: list[str]) -> dict[str, str]:
    """The text of each block; `code` holds <paper>/<item>.py, links start at `base`, `items` are listed, and those in
    `shown` (all pictures, if it is empty) are in the gallery. FileNotFoundError names a gap.
    """
    return {
        "numbers": "\n".join(f"* {line}" for line in findings(figures)) + "\n",
        "table4": _existing(figures / f"{TABLE}.md").read_text(encoding="utf-8"),
        "gallery": _gallery(figures, code, base, shown),
        "items": _items(items, figures.name, code),
    }


def findings(figures: Path, items: Iterable[str] | None = None) -> list[str]:
    """Sentences with what the run found, from the csv files of three items, or of those among `items` (a model may not
    have all). FileNotFoundError names a gap.
    """
    sentences = {TRACES: _tracing, SEVERED: _severed, f"{TABLE}.csv": _editing}
    wanted = [name for name in sentences if items is None or name.removesuffix(".csv") in items]
    return [line for name in wanted for line in sentences[name](_read(figures / name))]


def filled(text: str, contents: dict[str, str], where: str = "README.md") -> str:
    """`text` with every block's contents replaced. ValueError if a block is unknown, missing, doubled or not closed."""
    names = [match[1] for match in BEGIN.finditer(text)]
    closed = [(match[1], match[4]) for match in BLOCK.finditer(text)]
    if sorted(names) != sorted(contents):
        raise ValueError(
            f"{where}: blocks {names}; right would be each of {sorted(contents)} once, as "
            "`<!-- begin:NAME -->` on a line of its own"
        )
    if closed != [(name, name) for name in names]:
        raise ValueError(f"{where}: each block of {names} must end with `<!-- end:NAME -->` before the next begins")
    return BLOCK.sub(
        lambda match: f"<!-- begin:{match[1]}{match[2]} -->\n{contents[match[1]]}<!-- end:{match[1]} -->", text
    )


def stale(text: str, contents: dict[str, str], where: str = "README.md") -> list[str]:
    """Names of the blocks whose text is not what the artifacts say."""
    filled(text, contents, where)
    return [match[1] for match in BLOCK.finditer(text) if match[3] != contents[match[1]]]


def main(argv: list[str] | None = None) -> int:
    """`engram readme [--check]`: fill the blocks, or exit with 1 and name the stale ones."""
    parser = argparse.ArgumentParser(
        prog="engram readme", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a block is stale")
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    parser.add_argument("--figures", type=Path, default=Path("figures/mini"), help="artifacts of one model")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="whose `paper:` names the items")
    parser.add_argument("--code", type=Path, default=Path("workflow/figures"), help="the items' code, for the captions")
    args = parser.parse_args(argv)
    try:
        text = _existing(args.readme).read_text(encoding="utf-8")
        shown = next((match[2].split() for match in BEGIN.finditer(text) if match[1] == "gallery"), [])
        items = list(params.load(args.params)["paper"])
        contents = blocks(args.figures, args.code, args.readme.parent, items, shown)
        old = stale(text, contents, str(args.readme))
        if old and not args.check:
            args.readme.write_text(filled(text, contents, str(args.readme)), encoding="utf-8")
    except (FileNotFoundError, ValueError) as error:
        print(f"engram readme: {error}", file=sys.stderr)
        return 2
    if old and args.check:
        print(
            f"{args.readme}: stale blocks: {', '.join(old)}; `engram readme` writes them from {args.figures}",
            file=sys.stderr,
        )
        return 1
    print(f"{args.readme}: " + (f"wrote {', '.join(old)}" if old else "up to date"))
    return 0


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; run the workflow for this model first")
    return path


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(_existing(path), keep_default_na=False, na_values={"value": [""], "ci": [""], "layer": [""]})


def _tracing(frame: pd.DataFrame) -> list[str]:
    """Sentences from the csv of ROME Fig. 2. They name what was measured and claim nothing else."""
    model = frame["model"].iloc[0]
    count, clean, corrupted, total = (
        _one(frame, quantity=name) for name in ("prompts", "clean", "corrupted", "average_total_effect")
    )
    subject, last = "Last subject token", "Last token"
    hidden, mlp, attention = (_peak(frame, site=site, category=subject) for site in ("hidden", "mlp", "attn"))
    anywhere, end = _peak(frame, site="attn"), _peak(frame, site="attn", category=last)
    return [
        f"Over {int(count['value']):,} prompts that `{model}` completes correctly, the mean probability of the answer "
        f"is {clean['value']:.1%}; with the subject's embeddings corrupted it is {corrupted['value']:.1%}. "
        f"Average total effect: {_points(total)}.",
        f"At the last subject token, restoring one hidden state gives back {_points(hidden)} at best, a window of MLPs "
        f"{_points(mlp)}, a window of attention modules {_points(attention)}.",
        f"At the last token, a window of attention modules gives back {_points(end)} at best. Attention's largest "
        f"effect anywhere is {_points(anywhere)}, at this kind of token: {anywhere['category'].lower()}.",
    ]


def _severed(frame: pd.DataFrame) -> list[str]:
    """A sentence from the csv of ROME Fig. 3."""

    def best(site: str) -> str:
        rows = _select(frame, {"site": site})
        return _points(rows.assign(value=rows["indirect_effect"]).loc[rows["indirect_effect"].idxmax()])

    return [
        f"One hidden state of the last subject token gives back {best('hidden')} at best; with the MLPs of that token "
        f"severed {best('no_mlp')}, with its attention severed {best('no_attn')}."
    ]


def _points(row: pd.Series) -> str:
    """An effect in percentage points of probability, with the (centre) layer where it was measured."""
    layer = "" if pd.isna(row["layer"]) else f" (layer {int(row['layer'])})"
    return f"{100 * row['value']:.1f} points{layer}"


def _editing(frame: pd.DataFrame) -> list[str]:
    def scores(method: str) -> str:
        rows = (_one(frame, method=method, metric=metric) for metric in ("ES", "PS", "NS"))
        return ", ".join(f"{row['metric']} {row['value']:.1f}" for row in rows)

    edited = _one(frame, method="rome", metric="ES")
    return [
        f"ROME over {int(edited['count']):,} counterfactual edits, one at a time: {scores('rome')} (of 100). "
        f"The unedited model: {scores('none')}."
    ]


def _select(frame: pd.DataFrame, keys: dict) -> pd.DataFrame:
    for column, value in keys.items():
        frame = frame[frame[column] == value]
    if frame.empty:
        raise ValueError(f"the csv of the figures has no row with {keys}; it was written by other code: draw it again")
    return frame


def _one(frame: pd.DataFrame, **keys: str) -> pd.Series:
    return _select(frame, keys).iloc[0]


def _peak(frame: pd.DataFrame, **keys: str) -> pd.Series:
    rows = _select(frame, {"quantity": "indirect_effect", **keys})
    return rows.loc[rows["value"].idxmax()]


def _gallery(figures: Path, code: Path, base: Path, shown: list[str]) -> str:
    entries = []
    pictures = [_existing(figures / f"{item}.png") for item in shown] or sorted(
        figures.glob("*/*.png"), key=captions.natural
    )
    for picture in pictures:
        item = picture.relative_to(figures).with_suffix("")
        caption = captions.read(_existing(code / item.with_suffix(".py")))
        link = Path(os.path.relpath(picture, base)).as_posix()
        entries.append(
            f"**{item.as_posix()}** ([pdf]({link[:-4]}.pdf), [csv]({link[:-4]}.csv)). "
            f"{caption.text} {caption.place}.\n\n![{item.as_posix()}]({link})\n"
        )
    if not entries:
        raise FileNotFoundError(f"{figures} holds no pictures; run the workflow for this model first")
    return "\n".join(entries)


def _items(items: list[str], model: str, code: Path) -> str:
    """A table of all items."""
    lines = [f"| item | shows | command (model `{model}`) | code |", "| --- | --- | --- | --- |"]
    for item in captions.ordered(items):
        caption = captions.read(_existing(code / f"{item}.py"))
        lines.append(
            f"| {caption.place} | {caption.shows} | `dvc repro {item.replace('/', '-')}@{model}` "
            f"| `workflow/figures/{item}.py` |"
        )
    return "\n".join(lines) + "\n"
