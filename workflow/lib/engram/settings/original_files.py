"""Which original files a run needs: those of its source, published editors, and a model's checkpoint, that lie in the
folder of stage `fetch`.

Pure functions on the contents of the parameter file; no torch, no network.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath

from engram.settings import edits, package_places, sources
from engram.settings.blocks import fields
from engram.settings.checking import Problem, similar

FOLDER = "data/original"  # where stage `fetch` puts the files that sources name
ATLAS = "data/atlas"  # the atlas; git keeps it
KEPT = {FOLDER: "the original files", ATLAS: "the atlas"}  # folders of data/ that no model may have the name of
KEYS = (
    "facts",
    "wordings",
    "zsre",
    "prompts",
    "text",
    "snippets",
    "idf",
    "vocabulary",
)  # of a source that name files, in reading order
TABLES = KEYS[:6]  # read by stage `dataset`; the others by `evaluate`


def source_files(source: dict) -> dict[str, PurePath]:
    """Key -> file of a source of kind `folder` or `atlas`; nothing for a generated one."""
    if source["kind"] == "world":
        return {}
    if source["kind"] == "atlas":
        defaults = {key: fields(sources.Atlas)[key].default for key in ("facts", "wordings")}
        source = defaults | {key: value for key, value in source.items() if value != sources.OWN}
    return {key: PurePath(source.get("path", ""), source[key]) for key in KEYS if source.get(key)}


def offline(environment: Mapping[str, str]) -> str | None:
    """Why the network is not to be touched, if it is not: HF_HUB_OFFLINE, as the hub's own library reads it."""
    word = environment.get("HF_HUB_OFFLINE", "")
    return f"HF_HUB_OFFLINE is {word}" if word.upper() in ("1", "ON", "YES", "TRUE") else None


def kept_name(name: str, sample: int | None) -> str:
    """The name under which a file is kept. A sample has one of its own: it is never taken for a snapshot and replaces
    none.
    """
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{sample}.{suffix}" if sample else name


def local_names(name: str, sample: int | None) -> list[str]:
    """The names that a file may have in a local folder; a snapshot may be a folder or have another format."""
    stem = name.rpartition(".")[0]
    return [name, *([stem, f"{stem}.parquet", f"{stem}.arrow"] if sample else [])]


def wheels_name(name: str) -> str:
    """The folder beside a file in which the packages that hold it are kept, until the file is whole."""
    return f"{name}.wheels"


def not_accepted(name: str, block: Mapping) -> tuple[str, str] | None:
    """What is wrong and what would be right, if the licence of a file must be accepted and was not."""
    if block.get("accepted") is not False:
        return None
    return (
        f"its licence, {block['licence']}, must be accepted, and was not",
        f"read {block.get('terms') or 'the licence'}; if you accept it, make the line `accepted: false` of "
        f"fetch.files.{name} in params.yaml `accepted: true`",
    )


def section(values: dict, name: str) -> dict:
    """What one job of stage `fetch` depends on: its file's block, and the numbers of records of the others."""
    fetch = values["fetch"]
    counts = {other: block["records"] for other, block in fetch["files"].items() if block.get("records")}
    return {key: value for key, value in fetch.items() if key != "files"} | {
        "files": {name: fetch["files"][name]},
        "counts": counts,
    }


def section_keys(values: dict, name: str) -> list[str]:
    """The dotted keys of params.yaml that `section` holds."""
    fetch = values["fetch"]
    counts = [f"fetch.files.{other}.records" for other, block in fetch["files"].items() if block.get("records")]
    return [*(f"fetch.{key}" for key in fetch if key != "files"), f"fetch.files.{name}", *counts]


def source_keys(values: dict, model: str) -> list[str]:
    """The dotted keys of params.yaml that say what the source of a model is."""
    return [f"models.{model}.source", f"sources.{values['models'][model]['source']}"]


def wanted(values: dict, model: str, folder: str) -> list[str]:
    """The files that one model's run fetches: those of its source, of published editors that its items compare, and its
    checkpoint.

    `values`: the parameter file as the model sees it (items.seen), sweeps expanded.
    """
    found = list(source_files(values["sources"][values["models"][model]["source"]]).values())
    checkpoint = values["models"][model].get("gguf")
    found += [PurePath(checkpoint)] if checkpoint else []
    published = values["hypernet"]["published"].get(model, {})
    found += [PurePath(published[name]) for name in edits.hypernets(values, model) if name in published]
    here = [path.name for path in dict.fromkeys(found) if path.parent == PurePath(folder)]
    return [name for name in here if name in values["fetch"]["files"]]


def problems(values: dict, folder: str) -> Iterator[Problem]:
    """A problem for each place that cannot be one, each key that does not belong to its file, and each fetched file
    without a block.
    """
    files = values["fetch"]["files"]
    for name, block in files.items():
        for index, place in enumerate(block.get("places", [])):
            if wrong := _wrong(place):
                yield Problem(("fetch", "files", name, "places", index), f"`{place}`", wrong)
        if "sample" in block and block["schema"] != "articles":
            yield Problem(
                ("fetch", "files", name, "sample"),
                f"a sample of a file of schema {block['schema']}",
                "only with `articles`",
            )
        if "records" in block and block["schema"] == "gguf":
            yield Problem(
                ("fetch", "files", name, "records"), "records of a file of schema gguf", "a checkpoint has none: no key"
            )
        if ("accepted" in block) != ("terms" in block):
            yield Problem(
                ("fetch", "files", name, "terms" if "accepted" in block else "accepted"),
                "nothing, the key is missing",
                "`accepted` and `terms`, where the licence can be read, together or neither",
            )
    for source, block in values["sources"].items():
        for key, path in source_files(block).items():
            if path.parent == PurePath(folder) and path.name not in files:
                yield Problem(
                    ("sources", source, key), f"`{path.name}`, which is not fetched", similar(path.name, files)
                )


def _wrong(place: str) -> str | None:
    """What would be right instead of a place that cannot be one."""
    if package_places.is_package(place):
        try:
            package_places.parts(place)
        except ValueError as error:
            return f"{package_places.FORM}: {error}"
        return None
    if re.match(r"[a-z]+:", place) and not re.match(r"https?://[^/]+/|hub:[^/]+/[^/]+$", place):
        return f"http://…, https://…, hub:<owner>/<name>[@<revision>], {package_places.FORM}, or a local path"
    return None
