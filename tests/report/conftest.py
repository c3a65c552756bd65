"""A small finished run with everything that the report shows, and a real browser to open the page in."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

import fake_tables
from engram.job import arguments, schemas
from engram.provenance import audit
from engram.report import page, run
from engram.settings import params
from made_once import once
from repository import ROOT

NASTY = "</script><script>alert(1)</script><!-- & \" ' <b onclick=x> \u2028 日本 \U0001f3b9"
KINDS = {"rewrite": 1, "paraphrase": 2, "neighborhood": 3, "attribute": 1, "reverse": 1}
REVERSED = (0, 3)  # the records that have a reverse question
PAPER = {
    "rome/fig1_trace_example": {"kind": "figure", "from": ["trace"], "models": ["mini", "cf500"]},
    "rome/fig2_average_traces": {"kind": "figure", "from": ["trace"]},
    "rome/fig6_generations": {
        "kind": "figure",
        "from": ["dataset", "edit"],
        "dataset": "counterfact",
        "n": 1,
        "methods": ["none", "rome"],
        "models": ["mini"],
    },
    "rome/table1_zsre": {
        "kind": "table",
        "from": ["evaluate", "published"],
        "dataset": "zsre",
        "n": 1,
        "methods": ["none", "rome"],
        "models": ["mini"],
    },
    "rome/table4_counterfact": {
        "kind": "table",
        "from": ["evaluate", "published"],
        "dataset": "counterfact",
        "methods": ["none", "ft", "rome"],
        "n": 1,
        "models": ["mini"],
    },
}


def facts(cases: int = 7) -> pd.DataFrame:
    """Records of two relations; the second holds what could end a script element."""

    def asked(kind, i):
        return [f"{kind} {index} of {i}: Ann{i} plays" for index in range(KINDS[kind])]

    table = pd.DataFrame(
        [
            {
                "case_id": 10 + i,
                "relation_id": f"P{i % 2}",
                "prompt": "{} plays the",
                "subject": f"Ann{i} Lee",
                "target_new": "violin",
                "target_new_id": "Q2",
                "target_true": "piano",
                "target_true_id": "Q1",
                **{f"{kind}_prompts": asked(kind, i) for kind in ("paraphrase", "neighborhood", "attribute")},
                "generation_prompts": ["d"],
            }
            for i in range(cases)
        ]
    )
    table.loc[1, "subject"] = NASTY
    return table


def scores(table: pd.DataFrame, method: str, dataset: str) -> pd.DataFrame:
    rng, rows = np.random.default_rng(len(method)), []
    about = {"model": "mini", "dataset": dataset, "method": method, "n": 1, "after": 1}
    for at, case in enumerate(table["case_id"]):
        if dataset == "zsre":
            asked = [
                (kind, 0, token, target)
                for kind, target in (("rewrite", "new"), ("paraphrase", "new"), ("neighborhood", "true"))
                for token in range(2)
            ]
        else:
            asked = [
                (kind, index, 0, target)
                for kind, size in KINDS.items()
                if kind != "reverse" or at in REVERSED
                for index in range(size)
                for target in ("new", "true")
            ]
        rows += [
            about
            | {
                "case_id": case,
                "kind": kind,
                "prompt_index": index,
                "token": token,
                "target": target,
                "nll": rng.exponential(2),
                "correct": bool(rng.random() < 0.5),
            }
            for kind, index, token, target in asked
        ]
    frame = pd.DataFrame(rows)
    return frame if dataset == "zsre" else frame.drop(columns="token")


def texts(table: pd.DataFrame, method: str) -> pd.DataFrame:
    rows = fake_tables.fake_texts(table.head(4), method)
    rows.loc[rows["case_id"] == 11, "text"] += NASTY
    return rows


class Site:
    """A folder with the artifacts of a finished run, each with its record."""

    def __init__(self, folder: Path):
        self.root = folder
        (folder / "data").mkdir(parents=True)
        (folder / "workflow").symlink_to(ROOT / "workflow")
        shutil.copy(ROOT / "data/published.csv", folder / "data")
        values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")) | {"paper": PAPER}
        (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    def put(self, stage: str, files: dict, inputs=(), **config) -> list[str]:
        """Write files as outputs of one job of a stage, with the records of what it read; returns their paths."""
        job = arguments.Job(
            ROOT / f"workflow/scripts/{stage}.py",
            [f"workflow/scripts/{stage}.py"],
            {"seed": 0, **config},
            inputs=SimpleNamespace(inputs=[Path(path) for path in inputs]),
            outputs=SimpleNamespace(**{str(index): Path(path) for index, path in enumerate(files)}),
            keys=SimpleNamespace(model="mini"),
        )
        for index, value in enumerate(files.values()):
            job.write(str(index), value)
        return list(files)

    def draw(self, item: str, inputs: list, model: str = "mini") -> None:
        suffixes = ("csv", "md") if "table" in item else ("pdf", "png", "csv")
        outputs = [word for suffix in suffixes for word in (f"--{suffix}", f"figures/{model}/{item}.{suffix}")]
        config = {
            "seed": 0,
            "model": {"name": model, "trace_window": 2},
            "paper": {},
            "variants": {"main": {"noise": "s3", "extra_tokens": 0}},
        }
        fake_tables.load(item.split("/")[1]).main([*inputs, *outputs, "--model", model, "--config", json.dumps(config)])

    def trace(self, model: str) -> None:
        traced = fake_tables.fake_traced(prompts=6).assign(model=model)
        traced["tokens"] = [
            ["In", f" Name{i}", f" unique{i}", " Lee", *row[4:]] for i, row in enumerate(traced["tokens"])
        ]
        traced.at[1, "tokens"][-1] = " <b>&\n"
        traced["prompt"] = traced["tokens"].map("".join)
        traced["subject"] = traced["tokens"].map(lambda row: "".join(row[1:4]).strip())
        effects = fake_tables.fake_effects(traced).assign(model=model)
        effects["score"] = effects["score"].clip(0, 1)
        known = self.put("known", {f"results/known/{model}/prompts.parquet": traced[["prompt_id", "prompt"]]})
        made = self.put(
            "trace",
            {
                f"results/trace/{model}/main/effects.parquet": effects.sample(frac=1, random_state=0),
                f"results/trace/{model}/main/prompts.parquet": traced,
            },
            known,
        )
        for item in ("rome/fig1_trace_example", "rome/fig2_average_traces"):
            self.draw(item, ["--effects", made[0], "--traced", made[1]], model)

    def edit(self) -> None:
        tables = {"counterfact": facts(), "zsre": fake_tables.fake_zsre()}
        reverse = pd.DataFrame([{"case_id": 10 + at, "prompt": f"The player of record {at} is"} for at in REVERSED])
        paths = self.put(
            "dataset",
            {
                "data/mini/facts.parquet": tables["counterfact"],
                "data/mini/zsre.parquet": tables["zsre"],
                "data/mini/reversed.parquet": reverse,
            },
        )
        written, summaries = {}, {"counterfact": [], "zsre": []}
        for dataset, method in (
            ("counterfact", "none"),
            ("counterfact", "ft"),
            ("counterfact", "rome"),
            ("zsre", "none"),
            ("zsre", "rome"),
        ):
            folder = f"mini/{dataset}/{method}/n1"
            none = schemas.TEXTS_WRITTEN.frame([])
            about = texts(tables[dataset], method) if dataset == "counterfact" else none
            made = self.put(
                "edit",
                {
                    f"results/edit/{folder}/scores.parquet": scores(tables[dataset], method, dataset),
                    f"results/edit/{folder}/texts.parquet": about,
                },
                paths,
                method={"name": method},
                texts=4,
            )
            written[dataset, method] = made[1]
            summary = fake_tables.fake_summary(method, 20.0 + len(summaries[dataset]) * 30).assign(
                after=1, ci=lambda table: table["ci"].astype(float)
            )
            summaries[dataset] += self.put("evaluate", {f"results/evaluate/{folder}/summary.csv": summary}, made)
        self.draw(
            "rome/fig6_generations",
            ["--facts", paths[0], "--texts", written["counterfact", "none"], written["counterfact", "rome"]],
        )
        self.draw("rome/table1_zsre", ["--summaries", *summaries["zsre"]])
        self.draw("rome/table4_counterfact", ["--summaries", *summaries["counterfact"]])
        log = self.root / "logs/edit/mini/counterfact/rome/n1.tsv"
        log.parent.mkdir(parents=True)
        log.write_text("s\tcpu_time\tmax_rss\n12.5\t10\t800\n")

    def build(self, **active) -> bytes:
        values = params.load(self.root / "params.yaml")
        return page.build(self.root, values | {"run": values["run"] | active})

    def table(self, path: str) -> pd.DataFrame:
        return pd.read_parquet(self.root / path)


def at(root: Path) -> Site:
    """The run in a folder that has one already."""
    site = object.__new__(Site)
    site.root = root
    return site


def finish(folder: Path) -> None:
    site, here = Site(folder / "run"), Path.cwd()
    os.chdir(site.root)
    try:
        site.trace("mini")
        site.trace("cf500")
        site.edit()
    finally:
        os.chdir(here)
    assert {verdict.word for verdict in audit.verify(site.root)} == {audit.OK}


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Site:
    """A finished run of `mini`, and the traces of `cf500`; not to be changed."""
    return at(once("report", finish, tmp_path_factory) / "run")


@pytest.fixture
def site(finished, tmp_path) -> Site:
    """A copy of the run, to be changed."""
    return at(shutil.copytree(finished.root, tmp_path / "site", symlinks=True))


@pytest.fixture(scope="session")
def written(finished, tmp_path_factory) -> Path:
    """The page of that run, both models."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_bytes(finished.build(models=["mini", "cf500"]))
    return path


@pytest.fixture
def gap():
    return run.Gap


@pytest.fixture(scope="session")
def nasty() -> str:
    return NASTY
