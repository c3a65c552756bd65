"""Snakemake's graph: what there is to do, and what a change makes it do again."""

import functools
import json
import re
import shutil
from collections import Counter

import pytest
import yaml

from engram.settings import edits, items, sweeps
from repository import ROOT
from sandboxes import small_params

PARAMS = yaml.safe_load(small_params())
SEEN = sweeps.expanded(items.seen(PARAMS, "mini"))
EDITS = edits.wanted(SEEN)


TRACED, READ = ("trace", "gradients"), ("edit", "evaluate", "records")


def papers(kind: str, reads: tuple = (), method: str | None = None) -> int:
    """Items of a kind that read one of these stages (none: all), and of them those that compare a method."""
    found = [
        spec for spec in PARAMS["paper"].values() if spec["kind"] == kind and method in (None, *spec.get("methods", []))
    ]
    return sum(not reads or bool({*reads} & {*spec["from"]}) for spec in found)


def jobs_of(**counts) -> dict[str, int]:
    return {rule: count for rule, count in counts.items() if count}


ROME = [row for row in EDITS if row["method"] == "rome"]
EVERYTHING = jobs_of(
    dataset=1,
    train=1,
    checkpoint=1,
    known=1,
    noise=3,
    prefixes=1,
    covariance=1,
    trace=5,
    gradients=1,
    targets=len(edits.targets(SEEN, "mini")),
    hypernet=1,
    edit=len(EDITS),
    evaluate=len(EDITS),
    paper_figure=papers("figure"),
    paper_table=papers("table"),
)
BUT_DATA = jobs_of(
    **EVERYTHING
    | {  # the tables stay, and the figures that show records alone
        "dataset": None,
        "paper_figure": papers("figure", (*TRACED, *READ)),
        "paper_table": papers("table", (*TRACED, *READ)),
    }
)


def test_the_default_graph(built):
    assert built.jobs("--forceall") == EVERYTHING


def test_every_stage_can_be_asked_for(sandbox):
    """`all_trace` and `trace@mini` make the traces with what they need. What is missing is made, whatever stands above
    it.
    """
    shutil.rmtree(sandbox.path / "results")
    assert sandbox.jobs("trace@mini") == {"train": 1, "checkpoint": 1, "known": 1, "noise": 3, "trace": 5}
    assert sandbox.jobs() == BUT_DATA


def more_items(values):
    """Options and variants of figures; a table of more records, of facts edited in turn, and of ROME at two layers:
    that of its block, with the same optimised values, and another.
    """
    values["paper"]["rome/fig6_generations"].update(options={"cases": 1})
    values["paper"]["rome/fig7_lines"].update(variants=["main", "extra"])
    values["paper"]["rome/table4_counterfact"].update(
        records=250,
        n={"none": 1, "mend-cf": 1, "rome": [1, "20by5"]},
        sweep={"method": "rome", "over": {"layer": [0, 1]}},
    )


def test_settings_rerun_what_depends_on_them(sandbox):
    """Each change makes its own jobs run again and no others; with the file as it was, nothing is to be done."""
    tracing = jobs_of(trace=5, gradients=1, **{f"paper_{kind}": papers(kind, TRACED) for kind in ("figure", "table")})
    reading = {kind: papers(kind, READ) for kind in ("figure", "table")}
    editing = jobs_of(
        targets=2,
        edit=len(ROME),
        evaluate=len(ROME),
        **{f"paper_{kind}": papers(kind, READ, "rome") for kind in reading},
    )
    written = {
        "edit": len(EDITS),
        "evaluate": len(EDITS),
        "paper_figure": reading["figure"],
        "paper_table": reading["table"],
    }
    loaded = {rule: count for rule, count in BUT_DATA.items() if rule != "train"}
    for changes in [  # those of one line meet in no job, so that their jobs add up
        {"trace.samples=11": tracing},
        {
            "trace.variants.extra.samples=11": {"trace": 1, "paper_figure": 2},
            "trace.variants.more={noise: 0.1}": {},  # which no item reads
            "methods.rome.mini.kl_factor=0.9": editing,
        },
        {
            "trace.variants.uniform.noise=us2": {"noise": 1, "trace": 1, "paper_figure": 1},
            "gradients.samples=3": {"gradients": 1, "paper_figure": 1},
            "edit.generation_tokens=11": written,
        },
        {"run.device=cpu": BUT_DATA},
        {"models.mini.dtype=bfloat16": loaded},
        {"models.mini.devices=auto": loaded},
        {},
    ]:
        values = yaml.safe_load(small_params())
        for change in changes:
            key, value = change.split("=")
            *places, name = key.split(".")
            functools.reduce(dict.__getitem__, places, values)[name] = yaml.safe_load(value)
        (sandbox.path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
        assert sandbox.jobs() == sum(map(Counter, changes.values()), Counter()), changes
    values = yaml.safe_load(small_params())
    more_items(values)
    (sandbox.path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    assert sandbox.jobs() == {
        "targets": 2,
        "hypernet": 1,
        "edit": 8,
        "evaluate": 8,
        "paper_figure": 3,
        "paper_table": 1,
    }


def test_all_is_what_the_items_read(sandbox):
    """Traces alone: their variants and noise, no gradients, no edits; a further variant, once an item reads it."""
    values = yaml.safe_load(small_params())
    reads = {"rome/fig2_average_traces": ["main"], "rome/fig13_noise_kinds": ["uniform"]}
    values["paper"] = {item: values["paper"][item] | {"variants": variants} for item, variants in reads.items()}
    (sandbox.path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    traced = {"dataset": 1, "train": 1, "checkpoint": 1, "known": 1, "noise": 2, "trace": 2, "paper_figure": 2}
    assert sandbox.jobs("--forceall") == traced
    values["paper"]["rome/fig13_noise_kinds"]["variants"] += ["gaussian"]
    (sandbox.path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    assert sandbox.jobs("--forceall") == traced | {"noise": 3, "trace": 3}
    values["paper"] = {
        "rome/fig21_counterfact_record": values["paper"]["rome/fig2_average_traces"] | {"from": ["dataset"]}
    }
    del values["paper"]["rome/fig21_counterfact_record"]["variants"]
    (sandbox.path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    assert sandbox.jobs("--forceall") == {"dataset": 1, "paper_figure": 1}


def test_code_reruns_what_depends_on_it(sandbox):
    library = "workflow/lib/engram"
    for name in ("tracing/causal_trace.py", "evaluation/metrics.py", "methods/rome.py"):
        path = sandbox.path / library / name
        path.write_text(path.read_text() + "\n# a comment\n")
    sandbox.edit(f"{library}/tracing/causal_trace.py", '"""', '"""Other words of documentation. ')
    assert sandbox.jobs() == {}
    path = sandbox.path / library / "evaluation/metrics.py"
    path.write_text(path.read_text() + "\nANOTHER = 1\n")
    assert sandbox.jobs() == jobs_of(
        evaluate=len(EDITS),
        paper_figure=papers("figure", ("evaluate", "records")),
        paper_table=papers("table", ("evaluate",)),
    )
    path.write_text(path.read_text().replace("\nANOTHER = 1\n", ""))
    path = sandbox.path / library / "methods" / "rome.py"
    path.write_text(path.read_text() + "\nANOTHER = 1\n")
    jobs = sandbox.jobs()
    assert jobs == jobs_of(
        targets=2,
        edit=len(ROME),
        evaluate=len(ROME),
        **{f"paper_{kind}": papers(kind, READ, "rome") for kind in ("figure", "table")},
    ), "not edit/none"


@pytest.mark.parametrize("model", ["gpt2-xl", "gpt-j-6b", "cf20k"])
def test_a_model_on_real_data_lists_every_job_without_network(sandbox, model):
    """All items of params.yaml as they are: every original file is fetched by a job of its own, and nothing is
    missing.
    """
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["run"]["models"] = [model]
    for block in values["fetch"]["files"].values():
        block["places"] = ["http://origin.invalid/file"]
    values["hypernet"]["published"] = {"gpt2-xl": {"mend": "data/original/mend.pt"}}
    values["fetch"]["files"]["mend.pt"] = {"schema": "editor", "licence": "none", "places": []}
    (sandbox.path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    seen = sweeps.expanded(items.seen(values, model))
    files, jobs = 8 if model == "gpt2-xl" else 7, sandbox.jobs()
    edited, trained = len(edits.wanted(seen)), edits.hypernets(seen, model)
    papers = {
        f"paper_{kind}": sum(spec["kind"] == kind for spec in seen["paper"].values())
        for kind in ("figure", "table", "metrics")
    }
    assert jobs == jobs_of(
        fetch=files,
        dataset=1,
        train=int("train" in values["models"][model]),
        checkpoint=1,
        known=1,
        noise=3,
        prefixes=1,
        covariance=1,
        trace=5,
        gradients=1,
        targets=len(edits.targets(seen, model)),
        hypernet=len(trained),
        edit=edited,
        evaluate=edited,
        **papers,
    )
    assert sandbox.jobs(f"fetch@{model}") == {"fetch": files}


def test_published_numbers_are_an_input(sandbox):
    """Another number there makes the tables anew that read it, and those alone; until then their audit says so."""
    sandbox.edit("data/published.csv", "ROME Table 4", "ROME Table IV")
    assert sandbox.jobs() == {"paper_table": papers("table", ("published",))}
    audit = sandbox.run("engram", "audit", ok=False).stdout
    assert "input changed  figures/mini/rome/table4_counterfact.csv   data/published.csv" in audit
    assert not re.search("input changed .*table1", audit)
    assert "data/published.csv" in sandbox.git("ls-files")
    sandbox.run("dvc", "repro", "rome-table4_counterfact@mini")
    assert sandbox.jobs() == jobs_of(paper_table=papers("table", ("published",)) - 1)


def test_a_second_model_from_local_files(sandbox):
    """A model whose source is a folder: its raw files are inputs and stand in the lineage; the first model is left
    alone.
    """
    raw = sandbox.path.parent / "raw"
    raw.mkdir()
    for name in ("facts", "zsre", "prompts", "text"):
        (raw / f"{name}.json").write_text(name)
    params = yaml.safe_load((sandbox.path / "params.yaml").read_text())
    params["run"]["models"] = ["mini", "other"]
    params["models"]["other"] = params["models"]["mini"] | {"source": "elsewhere"}
    params["sources"]["elsewhere"] = (
        params["sources"]["cf500"]
        | {"path": "../raw"}
        | {name: f"{name}.json" for name in ("facts", "zsre", "prompts", "text")}
    )
    params["methods"]["rome"]["other"] = params["methods"]["rome"]["mini"]
    params["paper"]["rome/table4_counterfact"]["for"] = {"other": {"methods": ["none", "rome"]}}
    for item in ("rome/fig23_attn_edit", "memit/fig6_categories"):
        params["paper"][item]["models"] = ["mini"]
    (sandbox.path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    fewer = {"hypernet": None, "edit": 4, "evaluate": 4, "targets": 2, "paper_figure": EVERYTHING["paper_figure"] - 2}
    assert sandbox.jobs() == jobs_of(**EVERYTHING | fewer), "what is made for mini alone is not made for the other"
    sandbox.run("snakemake", "--cores", "2", "dataset@other")
    record = json.loads((sandbox.path / "data/other/.lineage/facts.parquet.json").read_text())
    assert [one["path"] for one in record["inputs"]] == [
        *(f"../raw/{name}.json" for name in ("facts", "zsre", "prompts", "text")),
        "data/wordings.csv",
    ]
    (raw / "facts.json").write_text("another")
    audit = sandbox.run("engram", "audit", ok=False).stdout
    assert "input changed  data/other/facts.parquet   ../raw/facts.json" in audit
    assert "data/mini/facts.parquet   ../raw" not in audit


def test_what_no_rule_makes_is_removed_when_asked(sandbox):
    """A point of a sweep that is gone, with its records and folders; what belongs to a model that is not active
    stays.
    """
    other = sandbox.path / "results/trace/other/effects.parquet"
    other.parent.mkdir(parents=True)
    other.write_text("of another run")
    sandbox.edit("params.yaml", "{epsilon: [0.001, 0.01]}", "{epsilon: [0.001]}")
    removed = sandbox.run("engram", "tidy").stdout.split("\n")
    assert [line for line in removed if "0p01/n1/scores.parquet" in line] and not [
        line for line in removed if "0p001" in line
    ]
    assert len([line for line in removed if line.startswith("removed ")]) == 6, "four tables of edit, two of evaluate"
    assert not (sandbox.path / "results/edit/mini/counterfact/attn-edit-epsilon-0p01").exists() and other.exists()
    assert sandbox.jobs() == {"paper_figure": 1}
