"""The command line of a stage: named inputs, named outputs, wildcard keys, one slice of params.yaml.

    job = arguments.parse(__file__, __doc__, argv, inputs=["prompts"], outputs=["effects"], keys=["model"])
    frame = io.read_table(job.inputs.prompts, schemas.KNOWN_PROMPTS)
    job.write("effects", result)

Every artifact is written by `Job.write`: checked against its schema, with its lineage record and its ledger entry.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

from engram.job import code_digest, guard, io, ledger_entry, lineage, schemas


@dataclass
class Job:
    """One run of a stage's script: what it reads, what it makes, and with which settings."""

    script: Path
    command: list[str]
    config: dict[str, Any]  # the stage's slice of params.yaml
    inputs: SimpleNamespace  # a path for each name, a list of paths, or None where an optional one is not given
    outputs: SimpleNamespace  # a path for each name
    keys: SimpleNamespace  # the wildcards of the rule: a word for each name
    device: str = "cpu"
    lock: TextIO | None = None  # on the outputs, while this process makes them
    began: dict[str, Any] = field(default_factory=ledger_entry.begin)
    _hashes: dict[tuple[str, str], str] = field(default_factory=dict)
    _code: dict[Path, str] = field(init=False)

    def __post_init__(self) -> None:
        roots = code_digest.roots_of(self.script, self.config.get("method"))
        self._code = code_digest.files(*roots)  # as it is now: an edit while the job runs is not what ran

    def write(self, name: str, value: Any) -> None:
        """Write the output `name`, its lineage record beside it and its ledger entry.

        `value` is one of the types of io.write; a Path is a file or a link made elsewhere on the same disk, and is
        moved. A table or json document that has a schema (engram.job.schemas) is checked first: ValueError names the
        file, the column, the row and what would be right. OSError, with the file, if it cannot be written.
        """
        path = getattr(self.outputs, name)

        def write_record(file: Path) -> None:  # first, so that what has the name of an artifact always has its record
            record = self._record(path.name, file)
            entry = ledger_entry.path_of(path)
            if entry:
                io.write(entry, ledger_entry.entry(self.began, record))
            io.write(lineage.record_path(path), lineage.record_text(record).encode())

        if isinstance(value, Path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_record(value)
            os.replace(value, path)
            return
        try:
            io.write(path, value, write_record, schemas.OUTPUTS.get(self.script.stem, {}).get(name))
        except Exception as error:
            if (system_error := guard.system_error(error, path)) is None:
                raise
            raise system_error from error

    def _record(self, name: str, file: Path) -> dict[str, Any]:
        about = {"artifact": name, "sha256": lineage.sha256(file), "bytes": file.stat().st_size}
        return about | self.origin() | {"command": self.command, "modules": code_digest.modules(self._code)}

    def origin(self) -> dict[str, Any]:
        """All that the outputs depend on; complete once the inputs are and the device is known."""
        return {
            "stage": self.script.stem,
            "keys": vars(self.keys),
            "inputs": self.hashed_inputs(),
            "params": self.config,
            "seed": self.config.get("seed"),
            "code": code_digest.digest(self._code),
            "packages": lineage.packages(),
            "device": self.device,
        }

    def hashed_inputs(self) -> list[dict[str, str]]:
        """Name, path and sha256 of every input file, as it is when this is first asked."""
        if not self._hashes:
            for name, value in vars(self.inputs).items():
                paths = value if isinstance(value, list) else [value] if value is not None else []
                if name == "weights":  # a model is loaded from its folder: tokenizer and configuration belong to it
                    paths = [path for file in paths for path in (file, *sorted(file.parent.glob("*.json")))]
                for path in paths:
                    self._hashes[name, str(path)] = lineage.sha256(path)
        return [{"name": n, "path": p, "sha256": digest} for (n, p), digest in self._hashes.items()]


def parse(
    script: str,
    doc: str | None,
    argv: Sequence[str] | None,
    inputs: Iterable[str] = (),
    outputs: Iterable[str] = (),
    keys: Iterable[str] = (),
) -> Job:
    """The job of a command line: its parser is built from the names, each of which is a flag.

    script, doc: the script's file and docstring. A name of `inputs` that ends in `*` takes several paths, in `?` is
    optional, in `*?` both. With `argv` None this process is the stage's, and is guarded (engram.job.guard).
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in inputs:
        many = "*" if "*" in name else None
        parser.add_argument(f"--{name.rstrip('*?')}", type=Path, nargs=many, required=not name.endswith("?"))
    for name in outputs:
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in keys:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--config", type=_settings, default={}, help="the stage's slice of params.yaml, as JSON")
    words = sys.argv[1:] if argv is None else [str(word) for word in argv]
    args = parser.parse_args(words)

    def group(names: Iterable[str]) -> SimpleNamespace:
        return SimpleNamespace(**{n: getattr(args, n) for n in (name.rstrip("*?").replace("-", "_") for name in names)})

    file = Path(script)
    job = Job(file, _command(file, words), args.config, group(inputs), group(outputs), group(keys))
    if argv is None:
        guard.guard_process(job)
    return job


def _settings(text: str) -> dict[str, Any]:
    """The argument of --config: a JSON object."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(values, dict):
        raise argparse.ArgumentTypeError(f"not a JSON object, but a {type(values).__name__}")
    return values


def _command(script: Path, argv: list[str]) -> list[str]:
    """The command, its script relative to the repository, without --config, which the record holds as `params`."""
    words, skip = [code_digest.from_workflow(script)], False
    for word in argv:
        if not skip and word != "--config":
            words.append(word)
        skip = word == "--config"
    return words
