"""What a run needs from outside of the repository: a checkpoint and original files. Is it here, or can it be had?"""

import csv
import importlib.util
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from engram.settings import original_files, package_places

STORE = Path(".downloads")
MANIFEST = Path("results/checkpoint")
UNKNOWN = 50 * 2**20  # bytes of an original file whose size nobody says
ARTICLE = 5000  # bytes of an article
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")


class Need(NamedTuple):
    """One thing that is needed: whether it is here, or at least a place that has it answers."""

    text: str
    here: bool
    reachable: bool
    advice: str = ""


def needs(values: dict, model: str, environment: Mapping[str, str]) -> list[Need]:
    """The checkpoint of one model, the files of its source and the published editors."""
    block = values["models"][model]
    offline, given = original_files.offline(environment), environment.get("ENGRAM_DATA_DIR", "")
    listed = [_checkpoint(block, model, offline)] if "hub" in block else []
    if given and not Path(given).is_dir():
        listed.append(Need(f"ENGRAM_DATA_DIR: {given} is not a folder", False, False, "a folder, or unset"))
    originals = set(original_files.wanted(values, model, original_files.FOLDER))
    source = original_files.source_files(values["sources"][block["source"]])
    paths = [Path(block["gguf"])] if "gguf" in block else []
    paths += [Path(path) for path in source.values()] + [
        Path(path) for path in values["hypernet"]["published"].get(model, {}).values()
    ]
    for path in dict.fromkeys(paths):
        if path.parent == Path(original_files.FOLDER) and path.name in originals:
            listed.append(_original(path, values["fetch"], Path(given) if given else None, offline))
        else:
            advice = f"put it there, or use a source whose path is {original_files.FOLDER}, which is fetched"
            listed.append(Need(f"{path}: {'here' if path.exists() else 'not there'}", path.exists(), False, advice))
    return listed


def _original(path: Path, section: dict, local: Path | None, offline: str | None) -> Need:
    block = section["files"][path.name]
    names, kept = (
        original_files.local_names(path.name, block.get("sample")),
        original_files.kept_name(path.name, block.get("sample")),
    )
    if refused := original_files.not_accepted(path.name, block):
        return Need(f"{path.name}: not to be used: {refused[0]}", False, False, refused[1])
    for place in [
        path,
        STORE / kept,
        *(folder / name for folder in filter(None, (local, STORE)) for name in names),
        *(Path(place) for place in block["places"] if not re.match(r"[a-z]+:", place)),
    ]:
        if place.exists():
            return Need(f"{path.name}: in {place.parent}", True, True)
    remote = [f"{mirror.rstrip('/')}/{path.name}" for mirror in section["mirrors"]]
    remote += [place for place in block["places"] if re.match(r"[a-z]+:", place)]
    packages = [place for place in remote if package_places.is_package(place)]
    folders = [*filter(None, (local, STORE)), STORE / original_files.wheels_name(path.name)]
    for package in packages:
        if found := _wheels(package, folders):
            return Need(f"{path.name}: in {', '.join(found)}", True, True)
    servers = {server(place): None for place in remote if place not in packages}
    answers = {name: f"not asked, {offline}" if offline else asked(name) for name in servers}
    pip = importlib.util.find_spec("pip") is not None
    heard = [f"{name}: {answer or 'answers'}" for name, answer in answers.items()]
    heard += ["pip can be asked for its packages" if pip else f"no pip in the environment of {sys.executable}"] * bool(
        packages
    )
    size = f", {block['bytes'] / 2**20:,.0f} MiB" if "bytes" in block else ""
    hand = [f"by hand: {package_places.by_hand(place, str(STORE))}" for place in packages]
    return Need(
        "\n".join([f"{path.name}: not here{size}; {'; '.join(heard) or 'no address is known'}", *hand]),
        False,
        None in answers.values() or (pip and bool(packages)),
        f"put it into {STORE}/ or the folder that ENGRAM_DATA_DIR names, or let this machine reach a place that has it",
    )


def _wheels(place: str, folders: list[Path]) -> list[str]:
    """The wheels in these folders that hold a file together; none if one of them is lacking."""
    names = [(folder, path.name) for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    found = [
        next((str(folder / name) for folder, name in names if package_places.is_wheel_of(name, part)), None)
        for part in package_places.parts(place)
    ]
    return [name for name in dict.fromkeys(found) if name] if all(found) else []


def _checkpoint(block: dict, model: str, offline: str | None) -> Need:
    name = f"checkpoint {block['hub']}, revision {block['revision']}"
    if checkpoint(block):
        return Need(f"{name}: here{_moved(block, MANIFEST / model / 'manifest.json')}", True, True)
    answer = f"not asked, {offline}" if offline else asked(server("hub:"))
    return Need(
        f"{name}: not here; {server('hub:')}: {answer or 'answers'}",
        False,
        answer is None,
        "on a machine with network `hf download` it, and copy the folder that HF_HOME names (~/.cache/huggingface), "
        "or let this machine reach the hub",
    )


def _moved(block: dict, manifest: Path) -> str:
    """What is to be said where the revision is another commit now than the one in the manifest."""
    place = None if Path(block["hub"]).is_dir() else _cached(block, "config.json")
    kept = json.loads(manifest.read_text(encoding="utf-8"))["commit"] if place and manifest.is_file() else None
    now = Path(place).parent.name if place else None
    if kept in (None, now):
        return ""
    return f"; it has moved to {now}, and the run goes on with {kept}: delete {manifest} to take what is new"


def checkpoint(block: dict) -> bool:
    """Whether the weights of a published model are on this machine: a GGUF file, a folder, or the cache of the hub."""
    if "gguf" in block:
        return Path(block["gguf"]).exists()
    names = (*WEIGHTS, *(PICKLED if block.get("convert") else ()))
    if Path(block["hub"]).is_dir():
        return any((Path(block["hub"]) / name).exists() for name in names)
    return any(_cached(block, name) for name in names)


def configuration(block: dict) -> dict | None:
    """The configuration of a published model, if it is on this machine."""
    if "hub" not in block:
        return _header(Path(block["gguf"])) if "gguf" in block else None
    path = Path(block["hub"], "config.json") if Path(block["hub"]).is_dir() else _cached(block, "config.json")
    return json.loads(Path(path).read_text(encoding="utf-8")) if path and Path(path).exists() else None


def _header(file: Path) -> dict | None:
    """What a GGUF file says of the shape of its model, in the words of transformers; None if it is not here."""
    here = [path for path in (file, STORE / file.name) if path.exists()]
    if not here:
        return None
    from gguf import GGUFReader

    try:
        fields = GGUFReader(here[0]).fields
    except (ValueError, OSError, IndexError):
        return None  # stage `convert` says what is wrong with the file
    kind = fields["general.architecture"].contents()
    names = {
        "num_hidden_layers": "block_count",
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "max_position_embeddings": "context_length",
    }
    shape = {ours: int(fields[f"{kind}.{theirs}"].contents()) for ours, theirs in names.items()}
    return shape | {"model_type": kind, "vocab_size": len(fields["tokenizer.ggml.tokens"].data)}


def _cached(block: dict, name: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        place = try_to_load_from_cache(block["hub"], name, revision=block["revision"])
    except HFValidationError:  # the path of a folder that is not there
        return None
    return place if isinstance(place, str) else None


def server(place: str) -> str:
    """The server that a place is on."""
    if place.startswith("hub:"):
        from huggingface_hub.constants import ENDPOINT

        return ENDPOINT
    return "{0.scheme}://{0.netloc}".format(urlsplit(place))


@cache
def asked(address: str) -> str | None:
    """None if the server answers, else why it does not."""
    import requests

    try:
        requests.head(address, timeout=5)
    except requests.exceptions.Timeout:
        return "no answer within 5 seconds"
    except requests.exceptions.RequestException as error:
        return f"no connection ({type(error).__name__})"
    return None


def original_bytes(values: dict, model: str) -> int:
    """Bytes of the original files that a model's run fetches."""
    blocks = [values["fetch"]["files"][name] for name in original_files.wanted(values, model, original_files.FOLDER)]
    return sum(block.get("bytes", block["sample"] * ARTICLE if "sample" in block else UNKNOWN) for block in blocks)


def rows(values: dict, model: str) -> dict[str, int]:
    """Number of records of the tables facts, zsre and prompts (which holds a prompt of every fact as well), and of
    articles.
    """
    source = values["sources"][values["models"][model]["source"]]
    if source["kind"] == "world":
        every = dict.fromkeys(("facts", "zsre", "prompts"), source["subjects"] * source["relations"])
        return every | {"text": source["articles"]}
    if source["kind"] == "atlas":
        return _atlas(source, values)
    counts = {
        key: _count(Path(path), values["fetch"]["files"])
        for key, path in original_files.source_files(source).items()
        if key in ("facts", "zsre", "prompts", "text")
    }
    return counts | {"prompts": counts["prompts"] + counts["facts"]}


def _atlas(source: dict, values: dict) -> dict[str, int]:
    """Rows of an atlas: each fact is two prompts, and a record if four others at least have its object; where the text
    is the model's own, as many articles as it writes.
    """
    paths = original_files.source_files(source)
    try:
        with open(paths["facts"], encoding="utf-8", newline="") as file:
            objects = Counter((row["relation"], row["object"]) for row in csv.DictReader(file))
    except (OSError, ValueError, KeyError):
        objects = Counter()
    records = sum(count for count in objects.values() if count > 4)
    articles = _count(Path(paths["text"]), values["fetch"]["files"]) if "text" in paths else None
    texts = values["sampled"]["passages"] if articles is None else articles
    return {"facts": records, "zsre": records, "prompts": 2 * objects.total(), "text": texts}


def _count(path: Path, files: dict) -> int:
    """Records of a file: of one that is fetched, what its block says; else they are counted; 0 if there is nothing to
    count.
    """
    block = files.get(path.name, {}) if path.parent == Path(original_files.FOLDER) else {}
    if number := block.get("records") or block.get("sample"):
        return number
    try:
        text = path.read_text(encoding="utf-8")
        return text.count("\n") if path.suffix == ".jsonl" else len(json.loads(text))
    except (OSError, ValueError):
        return 0
