"""Small fake tables in the shape of the real artifacts, and the paper items as modules."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from engram.drawing import method_tables
from engram.evaluation.derivation import SCHEMAS, Tables
from engram.job import io, schema_checks
from made_once import once
from repository import ROOT, module_of

FIGURES = ROOT / "workflow" / "figures" / "rome"
TRACES = {  # item -> the variants of trace that it is drawn from here
    "fig1_trace_example": ["main"],
    "fig2_average_traces": ["main"],
    "fig3_severed": ["severed"],
    "fig7_lines": ["main"],
    "fig10_examples": ["main"],
    "fig11_atypical": ["main"],
    "fig12_extra_token": ["main", "extra"],
    "fig13_noise_kinds": ["gaussian", "uniform"],
    "fig14_severed_cases": ["severed"],
    "fig15_extra_token": ["extra"],
}
TEXTS = ("fig6_generations", "fig19_generations", "fig25_attn_edit_generations")
RECORDS = {"fig21_counterfact_record": "facts", "fig22_zsre_record": "zsre"}
ITEMS = (*TRACES, *TEXTS, *RECORDS, "fig16_gradients", "fig24_attn_edit_metrics", "table1_zsre", "table4_counterfact")
NOISES = {"gaussian": "m", "uniform": "us3"}
SITES = {  # height of the early and of the late site of the paper
    "hidden": (0.12, 0.9),
    "mlp": (0.10, 0.2),
    "attn": (0.02, 0.35),
    "no_attn": (0.10, 0.9),
    "no_mlp": (0.03, 0.9),
}
METRICS = ("S", "ES", "EM", "PS", "PM", "NS", "NM", "GE", "RS", "EA", "PA", "NA")


def load(name: str):
    """The code of an item of ROME."""
    return load_item(f"rome/{name}")


def fake_traced(
    prompts: int = 8,
    subject: int = 3,
    before: int = 1,
    after: int = 3,
    words=None,
    answer: str = " piano",
    variant: str = "main",
) -> pd.DataFrame:
    rng, rows = np.random.default_rng(len(variant)), []
    for prompt_id in range(prompts):
        tokens = words or ["In"] * before + [f" Name{i}" for i in range(subject)] + [f" word{i}" for i in range(after)]
        clean, corrupted = rng.uniform(0.7, 1.0), rng.uniform(0.02, 0.2)
        rows.append(
            {
                "model": "mini",
                "variant": variant,
                "prompt_id": prompt_id,
                "prompt": "".join(tokens),
                "subject": f"x{prompt_id}",
                "answer": answer,
                "tokens": tokens,
                "subject_begin": before,
                "subject_end": before + subject,
                "clean": clean,
                "corrupted": corrupted,
            }
        )
    return pd.DataFrame(rows)


def fake_effects(traced: pd.DataFrame, layers: int = 8) -> pd.DataFrame:
    """Scores with the two sites of the paper: early at the last subject token, late at the last token.

    In variant `severed`, of the last subject token alone.
    """
    rng, rows = np.random.default_rng(1), []
    severed = traced["variant"].iloc[0] == "severed"
    for row in traced.itertuples():
        span = row.clean - row.corrupted
        for site in ("hidden", "no_attn", "no_mlp") if severed else ("hidden", "mlp", "attn"):
            early, late = SITES[site]
            for token in [row.subject_end - 1] if severed else range(len(row.tokens)):
                for layer in range(layers):
                    depth = layer / (layers - 1)
                    effect = rng.normal(0, 0.004)
                    if token == row.subject_end - 1:
                        effect += early * np.exp(-(((depth - 0.3) / 0.2) ** 2))
                    if token == len(row.tokens) - 1:
                        effect += late * (depth if site == "hidden" else np.exp(-(((depth - 0.65) / 0.2) ** 2)))
                    rows.append(("mini", row.variant, row.prompt_id, site, token, layer, row.corrupted + span * effect))
    return pd.DataFrame(rows, columns=["model", "variant", "prompt_id", "site", "token", "layer", "score"])


def fake_facts(cases: int = 5) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "case_id": 10 + i,
                "relation_id": f"P{i // 2}",
                "prompt": "{} plays the",
                "subject": f"Thomas James Martin{i}",
                "target_new": "violin",
                "target_new_id": "Q2",
                "target_true": "piano",
                "target_true_id": "Q1",
                "paraphrase_prompts": ["a"],
                "neighborhood_prompts": ["b"],
                "attribute_prompts": ["c"],
                "generation_prompts": ["d"],
            }
            for i in range(cases)
        ]
    )


def fake_zsre() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "case_id": 4 + i,
                "subject": f"Thomas James Martin{i}",
                "prompt": "What does {} play?",
                "target_new": "violin",
                "target_true": "piano",
                "rephrase": f"Thomas James Martin{i} plays what?",
                "loc": "who is 東京",
                "loc_target": "a city",
            }
            for i in range(2)
        ]
    )


def fake_gradients(traced: pd.DataFrame, layers: int = 8) -> pd.DataFrame:
    """Attributions of either sign, and where their lines begin."""
    rng, rows = np.random.default_rng(2), []
    for row in traced.itertuples():
        for site in ("hidden", "mlp", "attn"):
            for layer in range(layers):
                values = rng.normal(0, 0.1, len(row.tokens))
                rows += [
                    ("mini", row.prompt_id, site, token, layer, value, row.clean - values.sum())
                    for token, value in enumerate(values)
                ]
    return pd.DataFrame(rows, columns=["model", "prompt_id", "site", "token", "layer", "attribution", "baseline"])


def fake_records(method: str, records: int = 21, texts: int = 9) -> pd.DataFrame:
    """Metrics of single edits, those of texts for the first records only, with an outlier at the last."""
    rng = np.random.default_rng(len(method))
    table = pd.DataFrame({name: np.append(rng.uniform(0.5, 0.8, records - 1), -0.9) for name in ("EM", "PM", "NM")})
    for name in ("GE", "RS"):
        table[name] = np.where(np.arange(records) < texts, rng.uniform(5, 6, records), np.nan)
    return table.assign(model="mini", dataset="counterfact", method=method, n=1, after=1, case_id=range(records))


def fake_texts(facts: pd.DataFrame, method: str, words: int = 24) -> pd.DataFrame:
    rows = []
    for fact in facts.itertuples():
        for index in range(2):
            played = fact.target_new if method == "rome" else fact.target_true
            prompt = f"{fact.subject} is known for"
            text = f"{prompt} the {played}. He costs $5 and $x_{{2}} \n\n"
            text += f"word, {played}er; {played}, " * (words // 3)
            rows.append(
                {
                    "model": "mini",
                    "dataset": "facts",
                    "method": method,
                    "n": 1,
                    "after": 1,
                    "case_id": fact.case_id,
                    "prompt_index": index,
                    "prompt": prompt,
                    "text": text + "日本 \u200b\r\x00 end",
                }
            )
    return pd.DataFrame(rows)


def fake_summary(method: str, value: float = 90.0) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "model": "mini",
                "dataset": "facts",
                "method": method,
                "n": 1,
                "after": 1,
                "metric": metric,
                "value": value + index,
                "ci": None if metric == "S" else 0.5,
                "count": 200,
            }
            for index, metric in enumerate(METRICS)
        ]
    )


def write(path: Path, frame: pd.DataFrame, name: str) -> Path:
    """Write `frame` as the input `name` of an item: with the columns of its schema that it lacks, in their order."""
    schema, frame = SCHEMAS[name], frame.copy()
    fill = {schema_checks.TEXT: "x", schema_checks.WHOLE: 1, schema_checks.NUMBER: 0.5, schema_checks.TEXTS: ["x"]}
    for field in schema.schema:
        if field.name not in frame and not schema_checks.about(field, "only"):
            missing = float("nan") if field.nullable else fill[field.type]
            frame[field.name] = range(len(frame)) if field.name == "case_id" else [missing] * len(frame)
    io.write(path, frame[[column for column in schema.schema.names if column in frame]], schema=schema)
    return path


class Runner:
    """Writes fake inputs, runs an item's main through its command line, returns the folder of its outputs."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "in").mkdir()

    def put(self, file: str, frame: pd.DataFrame, name: str) -> Path:
        """The path of a table that is the input `name` of an item."""
        return write(self.folder / "in" / file, frame, name)

    def inputs(self, item: str) -> list:
        """The input flags of an item, over the default fake tables."""
        if item in TRACES:
            traced = [fake_traced(variant=variant) for variant in TRACES[item]]
            return [
                "--effects",
                *(self.put(f"{t['variant'][0]}-effects.parquet", fake_effects(t), "effects") for t in traced),
                "--traced",
                *(self.put(f"{t['variant'][0]}-prompts.parquet", t, "traced") for t in traced),
            ]
        if item in RECORDS:
            return [
                f"--{RECORDS[item]}",
                self.put(f"{item}.parquet", fake_facts() if RECORDS[item] == "facts" else fake_zsre(), RECORDS[item]),
            ]
        if item == "fig16_gradients":
            traced = fake_traced().drop(columns="variant")
            return [
                "--attributions",
                self.put("attributions.parquet", fake_gradients(traced), "attributions"),
                "--attributed",
                self.put("attributed.parquet", traced, "attributed"),
            ]
        if item == "fig24_attn_edit_metrics":
            return [
                "--records",
                *(
                    self.put(f"{method}-records.parquet", fake_records(method), "records")
                    for method in ("rome", "none", "attn-edit")
                ),
            ]
        if item in TEXTS:
            facts = fake_facts()
            texts = [self.put(f"{method}.parquet", fake_texts(facts, method), "texts") for method in ("rome", "none")]
            return ["--facts", self.put("facts.parquet", facts, "facts"), "--texts", *texts]
        rows = {"rome": 90.0, "none": 20.0}
        tables = {f"{name}.csv": fake_summary(name, value) for name, value in rows.items()}
        return ["--summaries", *(self.put(file, table, "summaries") for file, table in tables.items())]

    def argv(self, item: str, inputs=None, out: str = "out", **paper) -> list[str]:
        suffixes = ("csv", "md") if item.startswith("table") else ("pdf", "png", "csv")
        target = self.folder / out / "rome" / item
        outputs = [word for suffix in suffixes for word in (f"--{suffix}", f"{target}.{suffix}")]
        variants = {
            name: {"noise": NOISES.get(name, "s3"), "extra_tokens": int(name == "extra")}
            for name in TRACES.get(item, [])
        }
        config = {"seed": 0, "model": {"name": "mini", "trace_window": 2}, "paper": paper, "variants": variants}
        inputs = self.inputs(item) if inputs is None else inputs
        return [str(w) for w in [*inputs, *outputs, "--model", "mini", "--config", json.dumps(config)]]

    def run(self, item: str, inputs=None, out: str = "out", **paper) -> Path:
        load(item).main(self.argv(item, inputs, out, **paper))
        return self.folder / out / "rome"


@pytest.fixture
def runner(tmp_path) -> Runner:
    return Runner(tmp_path)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> SimpleNamespace:
    """Every item drawn once, `made`: the folder; tests read it and change nothing in it."""

    def make(folder: Path) -> None:
        runner = Runner(folder)
        for item in ITEMS:
            runner.run(item, out="one")

    return SimpleNamespace(made=once("figures", make, tmp_path_factory) / "one" / "rome")


@pytest.fixture(scope="session")
def fakes() -> SimpleNamespace:
    return SimpleNamespace(
        traced=fake_traced,
        effects=fake_effects,
        facts=fake_facts,
        texts=fake_texts,
        items=ITEMS,
        summary=fake_summary,
        zsre=fake_zsre,
        gradients=fake_gradients,
        records=fake_records,
        load=load,
        traces=TRACES,
        root=ROOT,
        figures=FIGURES,
    )


def fake_summary_at(method, n, after, value) -> pd.DataFrame:
    """The metrics of one method after so many of n facts, each one more than the last."""
    rows = [
        {
            "model": "mini",
            "dataset": "counterfact",
            "method": method,
            "n": n,
            "after": after,
            "metric": metric,
            "value": value + index,
            "ci": None if metric == "S" else 3.0,
            "count": 50,
        }
        for index, metric in enumerate(METRICS[:9])  # all but those of zsRE
    ]
    return pd.DataFrame(rows)


def load_item(item: str):
    """The code of an item like `memit/fig5_scaling`, as a module."""
    return module_of(ROOT / "workflow" / "figures" / f"{item}.py")


def numbers_of(module, tables: dict, model: str = "mini", paper: dict | None = None, **config) -> pd.DataFrame:
    """The numbers of an item from tables that are there already; `paper`: its options."""
    job = SimpleNamespace(
        config={"paper": paper or {}, **config}, keys=SimpleNamespace(model=model), script=Path(module.__file__)
    )
    return module.DERIVATION.compute(Tables.of(**tables), job)


def beside(frame, path, paper):
    """The table of these editors beside what the file of published numbers has of the paper."""
    derivation = method_tables.derivation(frame["metric"].unique())
    job = SimpleNamespace(config={}, keys=SimpleNamespace(model=frame["model"].iloc[0]), script=Path(paper, "table.py"))
    return derivation.compute(Tables.of(summaries=frame.assign(after=1), published=io.read_table(path)), job)
