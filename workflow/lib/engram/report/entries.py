"""The items of one model as the page shows them: picture or table, caption, numbers, chain, commands."""

import base64
import struct
from pathlib import Path

from engram.drawing import captions
from engram.provenance.chain import graph, tree
from engram.report import tables
from engram.report.run import Run

PIXEL = 0.8  # CSS pixels per pixel of a picture: 7 pt at 200 dpi are read as 15 px
SHOWN = {"figure": ("csv", "png", "pdf"), "table": ("csv", "md")}  # kind of an item -> the files that the page shows
PNG = b"\x89PNG\r\n\x1a\n"


def entries(run: Run) -> list[dict]:
    """Every figure and table of the model, in the papers' order. Gap names a missing file."""
    shown = [item for item, spec in run.values["paper"].items() if spec["kind"] != "metrics"]
    return [entry(run, item) for item in captions.ordered(shown)]


def entry(run: Run, item: str) -> dict:
    """What the page says of one item."""
    name, kind = item.replace("/", "-"), run.values["paper"][item]["kind"]
    files = {suffix: run.item_file(item, suffix) for suffix in SHOWN[kind]}
    paths = {suffix: run.need(path) for suffix, path in files.items()}
    csv = paths["csv"].read_bytes()
    about = {
        "id": f"{run.model}-{name}",
        "item": item,
        "paper": item.split("/")[0],
        "kind": kind,
        "caption": captions.read(run.need(run.code(item))).of_weights(run.quantisation),
        "code": run.code(item).as_posix(),
        "file": files["csv"].as_posix(),
        "csv": uri("text/csv", csv),
        "rows": len(tables.read(csv)),
        "stale": run.verdict(*run.item_files(item)),
        "lineage": chain(run, files["csv"]),
        "commands": [f"dvc repro {name}@{run.model}", f"snakemake --cores all {name}@{run.model}"],
    }
    if kind == "table":
        table = tables.wide(csv, run.model)
        compared = any(cell.more for row in table.rows for cell in row)
        return about | {"table": table, "compared": compared, "notes": notes(paths["md"].read_text(encoding="utf-8"))}
    return about | {"picture": picture(paths["png"]), "pdf": files["pdf"].as_posix()}


def chain(run: Run, path: Path) -> str:
    """The lineage of a file as a tree, or why there is none."""
    try:
        return tree(graph(run.root, path))
    except (OSError, ValueError) as error:
        return f"no lineage: {error}"


def uri(kind: str, content: bytes) -> str:
    """A file's content as a data URI of a media type like `text/csv`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def picture(path: Path) -> dict:
    """A PNG file as a data URI, with the size at which it is shown, in CSS pixels. ValueError if it is none."""
    content = path.read_bytes()
    if content[:8] != PNG or content[12:16] != b"IHDR":
        raise ValueError(f"{path}: not a PNG file")
    width, height = (round(size * PIXEL) for size in struct.unpack(">II", content[16:24]))
    return {"uri": uri("image/png", content), "width": width, "height": height}


def notes(markdown: str) -> str:
    """What stands below a table of Markdown."""
    return " ".join(line for line in markdown.splitlines() if line and not line.startswith("|"))
