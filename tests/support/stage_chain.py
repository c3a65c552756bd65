"""Every stage once through its command line, on a world small enough for seconds."""

import json
from pathlib import Path

import torch

from engram.job import schemas
from made_once import once
from repository import ROOT, module_of

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
    return module_of(ROOT / "workflow" / folder / f"{name}.py")


def call(name, paths, slice_=None, folder="scripts", **keys):
    argv = []
    for flag, value in (paths | keys | {"model": "toy", "config": json.dumps(SLICE | (slice_ or {}))}).items():
        argv += [f"--{flag.replace('_', '-')}", *([value] if not isinstance(value, list) else value)]
    script(name, folder).main([str(word) for word in argv])


def chain(base: Path, draw: bool = True) -> dict[str, Path]:
    """Runs every stage, and figures if `draw`; returns the artifacts by name."""

    def at(stage, *names, suffix="parquet"):
        return {name: base / stage / f"{name}.{suffix}" for name in names}

    data = at("data", *schemas.DATASET)
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
    manifest = {"manifest": base / "checkpoint" / "manifest.json"}
    call("checkpoint", {"weights": train["weights"], "files": []} | manifest)
    weights = {"weights": train["weights"]} | manifest
    sampled = {f"sampled_{name}": base / "sampled" / f"{name}.parquet" for name in ("text", "heldout")}
    call(
        "sampled",
        weights | {name.removeprefix("sampled_"): path for name, path in sampled.items()},
        {"sampled": {"passages": 4, "tokens": 12, "top_k": 20, "heldout": 2}},
    )
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
        {"covariance": {"articles": 30, "batch_tokens": 512, "max_tokens": 64, "dtype": "float64", "ridge": 0}},
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
        {"targets": {"batch": 3}, "method": {"name": "rome"} | ROME},
        dataset="counterfact",
        family="rome",
    )
    found = {
        **data,
        **train,
        **manifest,
        **sampled,
        **known,
        **noise,
        **prefixes,
        **moments,
        **trace,
        **severed,
        **gradients,
        **targets,
    }
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
    return found | (figures(base, found) if draw else {})


def made(factory) -> Path:
    """The folder of a chain, not to be changed; `read` says what is in it."""

    def make(folder: Path) -> None:
        try:
            found = chain(folder / "chain")
        finally:
            torch.use_deterministic_algorithms(False)
            torch.set_num_threads(1)
        (folder / "artifacts.json").write_text(json.dumps({name: str(path) for name, path in found.items()}))

    return once("chain", make, factory)


def read(folder: Path) -> dict[str, Path]:
    """The artifacts of the chain in a folder, by name."""
    return {name: Path(path) for name, path in json.loads((folder / "artifacts.json").read_text()).items()}


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
