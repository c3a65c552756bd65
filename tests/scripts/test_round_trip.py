"""Every stage once through its command line, on a world small enough for seconds: outputs, keys, lineage,
determinism.
"""

import importlib.util
import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from engram.datasets import canonical_tables
from engram.job import io, lineage

ROOT = Path(__file__).parents[2]
WORLD = {
    "name": "world",
    "kind": "world",
    "subjects": 20,
    "relations": 2,
    "objects": 4,
    "documents": 120,
    "articles": 30,
    "listed": 0.5,
    "four_words": 0.5,
}
TRAIN = {
    "layers": 3,
    "width": 32,
    "heads": 2,
    "vocabulary": 420,
    "context": 64,
    "steps": 220,
    "batch": 8,
    "length": 32,
    "rate": 0.01,
    "spread": 0.1,
}
MODEL = {
    "name": "toy",
    "source": "world",
    "train": TRAIN,
    "trace_window": 2,
    "noise": "s3",
    "covariance_layers": [0, 1],
    "records": {"count": 4, "only_known": True},
}
SLICE = {"seed": 0, "run": {"threads": 1, "device": "cpu"}, "model": MODEL}
EDIT = {"generation_tokens": 20, "top_k": 3, "batch": 16, "perplexity": {"passages": 3, "tokens": 24, "models": 2}}
ROME = {
    "layer": 0,
    "steps": 10,
    "rate": 0.5,
    "weight_decay": 0.5,
    "kl_factor": 0.0625,
    "clamp_norm_factor": 4.0,
    "stop_loss": 0.05,
}


def script(name, folder="scripts"):
    spec = importlib.util.spec_from_file_location(name.replace("/", "_"), ROOT / "workflow" / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(name, paths, slice_=None, folder="scripts", **keys):
    argv = []
    for flag, value in (paths | keys | {"model": "toy", "config": json.dumps(SLICE | (slice_ or {}))}).items():
        argv += [f"--{flag.replace('_', '-')}", *([value] if not isinstance(value, list) else value)]
    script(name, folder).main([str(word) for word in argv])


def chain(base: Path) -> dict[str, Path]:
    """Runs every stage; returns the artifacts by name."""

    def at(stage, *names, suffix="parquet"):
        return {name: base / stage / f"{name}.{suffix}" for name in names}

    data = at("data", *canonical_tables.SCHEMAS)
    call("dataset", data | {"raw": []}, {"source": WORLD})
    files = {
        "weights": "model.safetensors",
        "model_config": "config.json",
        "generation_config": "generation_config.json",
        "tokenizer": "tokenizer.json",
        "tokenizer_config": "tokenizer_config.json",
        "loss": "loss.csv",
    }
    train = {name: base / "train" / file for name, file in files.items()}
    call("train", {"corpus": data["corpus"]} | train)
    weights = {"weights": train["weights"]}
    known = at("known", "known_prompts", "known_facts", "known_zsre")
    call(
        "known",
        weights | {name: data[name] for name in ("prompts", "facts", "zsre")} | known,
        {"known": {"batch_rows": 64}},
    )
    noise = at("noise", "noise", suffix="json") | at("noise", "vectors", suffix="safetensors")
    call(
        "noise",
        weights | {"prompts": known["known_prompts"], "text": data["text"]} | noise,
        {"noise": {"articles": 10}},
        rule="m",
    )
    prefixes = at("prefixes", "prefixes")
    families = {
        "rome": {"starts": [], "lengths": [[5, 2], [8, 2]], "top_k": 5},
        "memit": {"starts": ["The"], "lengths": [[6, 1]], "top_k": 5},
    }
    call("prefixes", weights | prefixes, {"prefixes": {"families": families}})
    moments = at("covariance", "moments", suffix="safetensors") | at("covariance", "counts", suffix="json")
    call(
        "covariance",
        weights | {"text": data["text"]} | moments,
        {"covariance": {"articles": 30, "batch_tokens": 512, "dtype": "float64", "shards": 2, "ridge": 0}},
    )
    trace = at("trace", "effects", "traced")
    call(
        "trace",
        weights | {"prompts": known["known_prompts"]} | noise | trace,
        {"trace": {"prompts": 5, "samples": 3, "sites": ["hidden", "mlp", "attn"], "extra_tokens": 1}},
        variant="extra",
    )
    severed = {f"severed-{name}": base / "severed" / path.name for name, path in trace.items()}
    call(
        "trace",
        weights | {"prompts": known["known_prompts"]} | noise | dict(zip(trace, severed.values())),
        {"trace": {"prompts": 5, "samples": 3, "sites": ["hidden", "no_mlp", "no_attn"], "tokens": "subject_last"}},
        variant="severed",
    )
    gradients = at("gradients", "attributions", "attributed")
    call(
        "gradients",
        weights | {"prompts": known["known_prompts"], "traced": trace["traced"]} | noise | gradients,
        {
            "gradients": {"points": 5, "samples": 2, "count": 2},
            "trace": {"prompts": 5, "samples": 3, "sites": ["hidden", "mlp", "attn"], "extra_tokens": 1},
        },
    )
    targets = at("targets", "targets", suffix="safetensors") | at("targets", "steps")
    records = {"facts": data["facts"], "known-facts": known["known_facts"]}
    call(
        "targets",
        weights | records | prefixes | targets,
        {"targets": {"batch": 3, "shards": 2}, "method": {"name": "rome"} | ROME},
        dataset="counterfact",
        family="rome",
    )
    found = {**data, **train, **known, **noise, **prefixes, **moments, **trace, **severed, **gradients, **targets}
    for method, hparams in (("none", {}), ("rome", ROME)):
        edit = {
            name: path.parent / method / path.name
            for name, path in at("edit", "scores", "texts", "norms", "drift").items()
        }
        aids = prefixes | moments | {"targets": targets["targets"]} if method == "rome" else {}
        call(
            "edit",
            weights | records | {name: data[name] for name in ("reversed", "heldout")} | aids | edit,
            {"edit": EDIT, "method": {"name": method} | hparams},
            dataset="counterfact",
            method=method,
            n=1,
        )
        folder = base / "evaluate" / method
        result = {"records": folder / "records.parquet", "summary": folder / "summary.csv"}
        call(
            "evaluate",
            {"facts": data["facts"], "snippets": data["snippets"], "scores": edit["scores"], "texts": edit["texts"]}
            | result,
            dataset="counterfact",
            method=method,
            n=1,
        )
        found |= {f"{method}-{name}": path for name, path in (edit | result).items()}
    edit = {
        name: path.parent / "zsre" / path.name for name, path in at("edit", "scores", "texts", "norms", "drift").items()
    }
    call(
        "edit",
        weights | {"facts": data["zsre"], "known-facts": known["known_zsre"]} | edit,
        {"edit": EDIT, "method": {"name": "none"}, "model": MODEL | {"records": {"count": 5, "only_known": False}}},
        dataset="zsre",
        method="none",
        n=1,
    )
    result = {"records": base / "evaluate/zsre/records.parquet", "summary": base / "evaluate/zsre/summary.csv"}
    call("evaluate", {"scores": edit["scores"]} | result, dataset="zsre", method="none", n=1)
    found |= {f"zsre-{name}": path for name, path in (edit | result).items()}
    return found | figures(base, found)


def figures(base, found):
    made = {}
    for item in (
        "fig1_trace_example",
        "fig2_average_traces",
        "fig3_severed",
        "fig7_lines",
        "fig11_atypical",
        "fig14_severed_cases",
    ):
        variant, prefix = ("severed", "severed-") if "severed" in item else ("extra", "")
        traces = {name: found[f"{prefix}{name}"] for name in ("effects", "traced")}
        out = {suffix: base / "figures" / f"{item}.{suffix}" for suffix in ("pdf", "png", "csv")}
        call(
            f"rome/{item}",
            traces | out,
            {"paper": {}, "variants": {variant: {"noise": "m", "extra_tokens": 1}}},
            "figures",
        )
        made |= {f"{item}.{suffix}": path for suffix, path in out.items()}
    out = {suffix: base / "figures" / f"fig16.{suffix}" for suffix in ("pdf", "png", "csv")}
    call(
        "rome/fig16_gradients",
        out | {name: found[name] for name in ("attributions", "attributed")},
        {"paper": {}},
        "figures",
    )
    made |= {f"fig16.{suffix}": path for suffix, path in out.items()}
    out = {suffix: base / "figures" / f"table4.{suffix}" for suffix in ("csv", "md")}
    call(
        "rome/table4_counterfact",
        out | {"summaries": [found["none-summary"], found["rome-summary"]]},
        {"paper": {}},
        "figures",
    )
    return made | {f"table4.{suffix}": path for suffix, path in out.items()}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    yield chain(tmp_path_factory.mktemp("chain"))
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(1)


def test_every_artifact_has_a_record_that_holds_its_hash(artifacts):
    for path in artifacts.values():
        record = io.read_json(lineage.record_path(path))
        assert record["sha256"] == lineage.sha256(path) and record["artifact"] == path.name
        assert record == lineage.seal(record)
        assert all(lineage.sha256(entry["path"]) == entry["sha256"] for entry in record["inputs"])
        assert not [word for word in record["command"] if word == "--config"] and record["params"]["seed"] == 0


def test_a_second_chain_gives_the_same_bytes(artifacts, tmp_path):
    again = chain(tmp_path)
    assert {name for name in again if lineage.sha256(again[name]) != lineage.sha256(artifacts[name])} == set()


def test_tables_carry_their_keys(artifacts):
    for name in ("scores", "texts", "norms", "drift", "records"):
        frame = io.read_table(artifacts[f"rome-{name}"])
        about = ["relation_id"] if name == "records" else []
        assert list(frame)[: 6 + len(about)] == ["model", "dataset", "method", "n", *about, "after", "case_id"]
        assert set(frame["after"]) == {1}
        assert set(frame["model"]) == {"toy"} and set(frame["method"]) == {"rome"} and set(frame["n"]) == {1}
        assert frame["case_id"].nunique() == (2 if name == "drift" else 4)
    scores = io.read_table(artifacts["rome-scores"])
    assert len(scores) == 4 * (1 + 2 + 10 + 10 + 1) * 2
    assert len(io.read_table(artifacts["rome-texts"])) == 40 and len(io.read_table(artifacts["none-norms"])) == 0
    effects, traced = io.read_table(artifacts["effects"]), io.read_table(artifacts["traced"])
    assert len(effects) == 3 * 3 * sum(len(tokens) for tokens in traced["tokens"])
    assert list(effects)[:3] == list(traced)[:3] == ["model", "variant", "prompt_id"]
    assert set(effects["variant"]) == set(traced["variant"]) == {"extra"}
    severed = io.read_table(artifacts["severed-effects"])
    assert set(severed["variant"]) == {"severed"} and set(severed["site"]) == {"hidden", "no_mlp", "no_attn"}
    vectors, values = io.read_tensors(artifacts["vectors"])[0], io.read_json(artifacts["noise"])
    assert values["rule"] == "m" and vectors["factor"].shape == (32, 32)


def test_zsre_goes_through_the_same_stages(artifacts):
    """Tokens are what is scored, no text is generated, and the metrics come from the scores alone."""
    tables = {
        name: io.read_table(artifacts[f"zsre-{name}"]) for name in ("scores", "texts", "norms", "drift", "records")
    }
    assert (
        len(tables["texts"]) == len(tables["norms"]) == len(tables["drift"]) == 0
        and list(tables["texts"])[-1] == "text"
    )
    assert list(tables["records"]) == ["model", "dataset", "method", "n", "after", "case_id", "EA", "PA", "NA"]
    assert tables["records"]["case_id"].tolist() == [0, 1, 2, 3, 4] and set(tables["scores"]["dataset"]) == {"zsre"}
    for row in tables["records"].itertuples():
        own = tables["scores"][tables["scores"]["case_id"] == row.case_id].groupby("kind")["correct"].mean()
        assert (own["rewrite"], own["paraphrase"], own["neighborhood"]) == (row.EA, row.PA, row.NA)
    zsre, known = io.read_table(artifacts["zsre"]), io.read_table(artifacts["known_zsre"])
    assert known["case_id"].tolist() == zsre["case_id"].tolist() and not zsre["loc"].str.endswith("?").any()
    assert known["probability"].between(0, 1).all() and (zsre["answer"] != zsre["target_new"]).all()


def test_an_edit_shows_in_the_reverse_question_and_on_held_out_text(artifacts):
    records = {name: io.read_table(artifacts[f"{name}-records"]) for name in ("none", "rome")}
    assert records["rome"]["VM"].mean() > records["none"]["VM"].mean() and records["none"]["VS"].notna().all()
    before, after = (io.read_table(artifacts[f"{name}-drift"]) for name in ("none", "rome"))
    assert before["nll"].tolist() == pytest.approx(before["nll_before"].tolist(), rel=1e-5)
    assert len(after) == 2 * 3 and (after["nll"] != after["nll_before"]).all() and after["tokens"].between(15, 23).all()


def test_rome_changed_what_the_model_says(artifacts):
    before, after = (io.read_table(artifacts[f"{m}-scores"]) for m in ("none", "rome"))
    rewrite = (before["kind"] == "rewrite") & (before["target"] == "new")
    assert (after["nll"] < before["nll"])[rewrite].all()


def edit_again(found, folder, count, n):
    """Stage `edit` with ROME on the artifacts of the chain, for another number of records or word n."""
    out = {name: folder / f"{name}.parquet" for name in ("scores", "texts", "norms", "drift")}
    call(
        "edit",
        {name: found[name] for name in ("weights", "facts", "reversed", "heldout", "prefixes", "moments", "targets")}
        | {"known-facts": found["known_facts"]}
        | out,
        {
            "edit": EDIT,
            "method": {"name": "rome"} | ROME,
            "model": MODEL | {"records": {"count": count, "only_known": True}},
        },
        dataset="counterfact",
        method="rome",
        n=n,
    )
    return {name: io.read_table(path) for name, path in out.items()}


def test_targets_are_taken_by_record_and_missing_ones_are_refused(artifacts, tmp_path):
    with pytest.raises(ValueError, match=r"no value for record .* and 0 more of the 5 that are edited here; it has 4"):
        edit_again(artifacts, tmp_path, 5, 1)
    assert list(tmp_path.iterdir()) == []
    scores = edit_again(artifacts, tmp_path, 3, 1)["scores"]
    whole = io.read_table(artifacts["rome-scores"])
    whole = whole[whole["case_id"].isin(set(scores["case_id"]))]
    assert scores["case_id"].nunique() == 3 and scores["nll"].tolist() == pytest.approx(whole["nll"].tolist(), rel=1e-4)


def test_one_fact_after_the_other_from_the_command_line(artifacts, tmp_path):
    tables = edit_again(artifacts, tmp_path, 4, "4by1")
    assert {name: sorted(set(table["after"])) for name, table in tables.items()} == {
        "scores": [1, 2, 3, 4],
        "texts": [4],
        "norms": [1, 2, 3, 4],
        "drift": [1, 2, 3, 4],
    }
    assert set(tables["scores"]["n"]) == {"4by1"}
    out = {name: tmp_path / f"{name}.{suffix}" for name, suffix in (("records", "parquet"), ("summary", "csv"))}
    call(
        "evaluate",
        {"facts": artifacts["facts"], "snippets": artifacts["snippets"]}
        | out
        | {name: tmp_path / f"{name}.parquet" for name in ("scores", "texts")},
        dataset="counterfact",
        method="rome",
        n="4by1",
    )
    summary = pd.read_csv(out["summary"])
    assert summary.groupby("after")["count"].max().to_dict() == {1: 1, 2: 2, 3: 3, 4: 4}
    assert summary[summary["metric"] == "GE"]["after"].tolist() == [4] and set(summary["n"]) == {"4by1"}
