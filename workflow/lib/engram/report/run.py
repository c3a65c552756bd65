"""Where the files of a finished run lie, which of them the report shows, and whether each is what its record says."""

import json
from functools import cached_property
from pathlib import Path

import yaml

from engram.drawing import style
from engram.machine import timings
from engram.provenance import audit
from engram.provenance.audit import OK
from engram.provenance.ledger import Ledger
from engram.settings import edits, items, methods, trace_variants


class _Written(yaml.SafeDumper):
    """Writes what stands in several places out in each."""

    def ignore_aliases(self, data: object) -> bool:
        """Every one."""
        return True


class Gap(FileNotFoundError):
    """A file that the report needs is not there; the text says which, and what makes it."""


class Run:
    """The files of one model under `root`; `values`: contents of params.yaml, for all models."""

    def __init__(self, root: Path, values: dict, model: str, verdicts: dict[Path, audit.Verdict]):
        self.root, self.model = Path(root), model
        self.values = items.seen(values, model)
        self.verdicts = verdicts

    def need(self, path: Path) -> Path:
        """A file under `root`. Gap if it is missing."""
        if not (self.root / path).is_file():
            raise Gap(f"{path} does not exist; `snakemake --cores all` makes it")
        return self.root / path

    def item_file(self, item: str, suffix: str) -> Path:
        """The file of an item with this suffix, relative to the root."""
        return Path("figures", self.model, f"{item}.{suffix}")

    def item_files(self, item: str) -> list[Path]:
        """The files of an item that are here or have a record, relative to the root."""
        return [path for path in self.verdicts if path == self.item_file(item, path.suffix[1:])]

    def code(self, item: str) -> Path:
        """The file of code of an item, relative to the root."""
        return Path("workflow/figures", f"{item}.py")

    @cached_property
    def quantisation(self) -> str | None:
        """How the weights of the model were quantised, by its manifest; None if they were not, or nothing says it."""
        path = self.root / "results/checkpoint" / self.model / "manifest.json"
        return json.loads(path.read_text(encoding="utf-8"))["quantisation"] if path.is_file() else None

    @property
    def figures(self) -> Path:
        """The folder of the model's figures."""
        return self.root / "figures" / self.model

    @cached_property
    def trace(self) -> dict[str, Path] | None:
        """Effects and prompts of the variant that items show by default; None if no item reads traces."""
        if not any(
            "trace" in spec["from"] and trace_variants.MAIN in trace_variants.of_item(spec)
            for spec in self.values["paper"].values()
        ):
            return None
        folder = Path("results/trace", self.model, trace_variants.MAIN)
        return {name: folder / f"{name}.parquet" for name in ("effects", "prompts")}

    @cached_property
    def edits(self) -> dict[str, dict[str, dict[str, Path]]]:
        """Dataset -> method -> name -> file, of the edits of single facts that items compare; not the points of
        sweeps.
        """
        found: dict = {}
        for row in edits.wanted(self.values):
            if row["n"].alone and row["method"] in self.values["methods"]:
                folder = Path("results/edit", self.model, row["dataset"], row["method"], f"n{row['n']}")
                files = {name: folder / f"{name}.parquet" for name in ("scores", "texts")}
                found.setdefault(row["dataset"], {})[row["method"]] = files
        return found

    def records(self, dataset: str) -> Path:
        """The table of the records of a dataset of edits."""
        return Path("data", self.model, {"counterfact": "facts", "zsre": "zsre"}[dataset]).with_suffix(".parquet")

    @property
    def reverse(self) -> Path:
        """The table of the questions in the other order."""
        return Path("data", self.model, "reversed.parquet")

    def settings(self) -> dict:
        """What params.yaml holds for this model: without the blocks of others, and where originals may be fetched."""
        own = {key: self.values[key] for key in self.values if key not in ("models", "methods", "fetch")}
        own_methods = {}
        for name, block in self.values["methods"].items():
            blocks = methods.blocks_of(self.values, name)
            if self.model in blocks:
                own_methods[name] = {
                    key: value for key, value in block.items() if key == self.model or key not in blocks
                }
        block = self.values["models"][self.model]
        return own | {
            "sources": {block["source"]: self.values["sources"][block["source"]]},
            "models": {self.model: block},
            "methods": own_methods,
        }

    def settings_text(self) -> str:
        """The settings that the model's run depends on, as yaml."""
        return yaml.dump(self.settings(), Dumper=_Written, sort_keys=False, allow_unicode=True, width=110)

    def durations(self) -> dict | None:
        """The tables `stages` and `edits` of the benchmark files; None without any, as after `make restore`."""
        try:
            jobs = timings.read(self.root / "logs", self.model)
        except FileNotFoundError:
            return None
        numbers = self.need(Path("data/published.csv"))
        editors = timings.by_edit(jobs, self.values, self.model, numbers)
        names = [style.method_label(method, self.model) for method in editors["method"]]
        return {"stages": timings.by_stage(jobs), "edits": editors.assign(method=names)}

    def verdict(self, *paths: Path) -> str:
        """What is wrong with files, or with anything that they were made from, by its cause; empty if nothing is."""
        chain = dict.fromkeys(above for path in paths for above in self._chain(path))
        looked_at = [self.verdicts[path] for path in chain if path in self.verdicts]
        failed = [verdict for verdict in looked_at if verdict.word != OK]
        if not failed:
            return ""
        worst = min(failed, key=lambda verdict: verdict.word.startswith("input "))  # a change above is said where it is
        return f"{worst.path}: {audit.FAILURES[worst.word]}" + (f" ({worst.detail})" if worst.detail else "")

    def _chain(self, path: Path) -> list[Path]:
        """`path` and the artifacts above it, as far as their records lead."""
        todo, seen = [path], {}
        while todo:
            artifact = todo.pop()
            if artifact not in seen:
                seen[artifact] = True
                todo += [Path(source["path"]) for source in (self.record(artifact) or {}).get("inputs", [])]
        return list(seen)

    def ledger(self) -> list[dict]:
        """What the ledger has of the model's artifacts: commit, time and machine of the jobs that made them."""
        kept = Ledger(self.root)
        entries = [kept.of(path, record) for path in self.artifacts if (record := self.record(path))]
        return [entry for entry in entries if entry]

    @property
    def artifacts(self) -> list[Path]:
        """Every artifact of the model that was looked at."""
        return [path for path in self.verdicts if audit.model_of(path) == self.model]

    def record(self, path: Path) -> dict | None:
        """The lineage record of a file; None without a whole one, which `verdict` says."""
        try:
            return audit.read_record(self.root, path)
        except (FileNotFoundError, ValueError):
            return None


def runs(root: str | Path, values: dict) -> list[Run]:
    """The run of every active model."""
    verdicts = {verdict.path: verdict for verdict in audit.verify(root, values["run"]["models"])}
    return [Run(Path(root), values, model, verdicts) for model in values["run"]["models"]]
