"""At least one number of every item, from the raw tables of the stages by another way: pandas alone, no helper of the
project.

Twice: on small tables made up here, from which evaluation and items are run; and on the run that lies in the
repository, if one does (a fresh checkout has figures, but no tables).
"""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from engram.job import arguments
from engram.provenance import number_lineage
from engram.settings import edits, items, sweeps
from fake_tables import TRACES, fake_effects, fake_gradients, fake_traced, fake_zsre, load_item, write
from made_once import once
from repository import ROOT, module_of

VALUES = sweeps.expanded(items.seen(yaml.safe_load((ROOT / "params.yaml").read_text()), "mini"))
PAPER = VALUES["paper"]
SUCCESS = {
    "ES": ("rewrite", "new"),
    "PS": ("paraphrase", "new"),
    "NS": ("neighborhood", "true"),
    "VS": ("reverse", "new"),
}
FILES = {"dataset": ("facts", "data/mini/facts"), "zsre": ("zsre", "data/mini/zsre")}
CASES, RELATIONS = 24, 4


# Made up.


def made_up_facts():
    return pd.DataFrame(
        [
            {
                "case_id": case,
                "relation_id": f"P{1 + case % RELATIONS}",
                "subject": f"Ann{case // 2}",
                "prompt": ("{} plays the", "The sport of {} is")[case // 3 % 2],
                "target_new": "chess",
                "target_new_id": "Q1",
                "target_true": "golf",
                "target_true_id": "Q2",
                "paraphrase_prompts": [f"a{case}"],
                "neighborhood_prompts": ["b"],
                "attribute_prompts": ["c"],
                "generation_prompts": ["d", "e"],
            }
            for case in range(CASES)
        ]
    )


def made_up_scores(edit, keys):
    """Negative log-likelihoods by chance; zsRE: whether a token is the first choice."""
    rng, rows = np.random.default_rng(sum(map(ord, "".join(edit.values())))), []
    size, _, batch = (re.fullmatch(r"(\d+)(by(\d+))?.*", edit["n"])).groups()
    counts = [1, 5, int(size)] if batch else [int(size)]
    kinds = {"rewrite": 1, "paraphrase": 2, "neighborhood": 3, "reverse": 1}
    for after in counts:
        for case in range(min(after, CASES) if batch else CASES):
            for kind, number in kinds.items():
                if kind == "reverse" and (edit["dataset"] == "zsre" or case % 5 == 0):
                    continue
                for index in range(number):
                    for target in ("new", "true"):
                        row = {
                            **keys,
                            "after": after,
                            "case_id": case,
                            "kind": kind,
                            "prompt_index": index,
                            "target": target,
                            "nll": rng.exponential(),
                            "correct": bool(rng.integers(2)),
                        }
                        rows.append(row | ({"token": 0} if edit["dataset"] == "zsre" else {}))
    frame = pd.DataFrame(rows)
    wanted = np.where(frame["kind"] == "neighborhood", "true", "new")
    return frame if edit["dataset"] != "zsre" else frame[frame["target"] == wanted]


def put(root, name, frame):
    inputs = {"prompts": "attributed" if "gradients" in root.parts else "traced"}
    write(root / f"{name}.parquet", frame, inputs.get(name, name))


def made_up_edit(root, edit, evaluate):
    """The tables of one edit, and what stage `evaluate` makes of its scores; GE and RS are put there."""
    place = f"{edit['dataset']}/{edit['method']}/n{edit['n']}"
    folder, result = root / "results/edit/mini" / place, root / "results/evaluate/mini" / place
    keys = {"model": "mini", **edit, "n": int(edit["n"]) if edit["n"].isdecimal() else edit["n"]}
    rng = np.random.default_rng(len(edit["method"]))
    base = {**keys, "after": 1}
    put(folder, "scores", made_up_scores(edit, keys))
    put(
        folder,
        "norms",
        pd.DataFrame(
            [
                {
                    **base,
                    "case_id": case,
                    "layer": layer,
                    "weight": f"w{layer}",
                    "weight_norm": 2.0 + layer,
                    "delta_norm": rng.uniform(0.1, 1),
                }
                for case in range(CASES)
                for layer in (0, 1)
            ]
        ),
    )
    put(
        folder,
        "drift",
        pd.DataFrame(
            [
                {
                    **base,
                    "after": max(1, int(re.match(r"\d+", edit["n"])[0])),
                    "case_id": case,
                    "passage_id": passage,
                    "nll": rng.uniform(1, 3),
                    "nll_before": 1.5,
                    "tokens": 20 + passage,
                }
                for case in range(3)
                for passage in range(4)
            ]
        ),
    )
    put(
        folder,
        "texts",
        pd.DataFrame(
            [
                {
                    **base,
                    "case_id": case,
                    "prompt_index": index,
                    "prompt": "de"[index],
                    "text": f"{'de'[index]} {edit['method']} {case} chess",
                }
                for case in range(CASES)
                for index in range(2)
            ]
        ),
    )
    group = re.search(r"of([\d+]+)", edit["n"])
    if group:  # of these relations alone
        chosen = [int(rank) - 1 for rank in group[1].split("+")]
        for name in ("scores", "texts"):
            table = pd.read_parquet(folder / f"{name}.parquet")
            put(folder, name, table[(table["case_id"] % RELATIONS).isin(chosen)])
    out = {"records": result / "records.parquet", "summary": result / "summary.csv"}
    flags = ["--scores", folder / "scores.parquet", *(word for name in out for word in (f"--{name}", out[name]))]
    if edit["dataset"] == "counterfact":
        given = {"facts": root / "data/mini/facts.parquet", "snippets": root / "data/mini/snippets.parquet"}
        given["texts"] = folder / "texts.parquet"
        flags += [word for name in given for word in (f"--{name}", given[name])]
    evaluate.main([*flags, *(word for name in edit for word in (f"--{name}", edit[name])), "--model", "mini"])


def inputs(root, item, spec):
    """Flag -> files, as rule `paper` has them."""
    wanted = [f"{row['dataset']}/{row['method']}/n{row['n']}" for row in edits.of_item(spec)]
    found = {}
    for stage in spec["from"]:
        if stage in FILES:
            found[FILES[stage][0]] = [f"{FILES[stage][1]}.parquet"]
        elif stage in ("norms", "drift", "edit"):
            name = "texts" if stage == "edit" else stage
            found[name] = [f"results/edit/mini/{place}/{name}.parquet" for place in wanted]
        elif stage in ("evaluate", "records"):
            flag, name = ("summaries", "summary.csv") if stage == "evaluate" else ("records", "records.parquet")
            found[flag] = [f"results/evaluate/mini/{place}/{name}" for place in wanted]
        elif stage == "trace":
            names = spec.get("variants", ["main"])
            found |= {
                "effects": [f"results/trace/mini/{name}/effects.parquet" for name in names],
                "traced": [f"results/trace/mini/{name}/prompts.parquet" for name in names],
            }
        elif stage == "gradients":
            found |= {
                "attributions": ["results/gradients/mini/attributions.parquet"],
                "attributed": ["results/gradients/mini/prompts.parquet"],
            }
    return {flag: [str(root / path) for path in paths] for flag, paths in found.items()}


@pytest.fixture(scope="session")
def made_up(tmp_path_factory):
    """Tables of every stage, and the numbers of every item made of them; no picture is drawn."""
    return once("values", make_up, tmp_path_factory)


def make_up(root):
    evaluate = module_of(ROOT / "workflow/scripts/evaluate.py")
    objects = [
        {"relation_id": f"P{rank + 1}", "target_id": "Q1", "text": f"chess in {rank}"} for rank in range(RELATIONS)
    ]
    put(root / "data/mini", "snippets", pd.DataFrame(objects))
    put(root / "data/mini", "facts", made_up_facts())
    put(root / "data/mini", "zsre", fake_zsre())
    for variant in {"main", *itertools.chain.from_iterable(TRACES.values())}:
        traced = fake_traced(variant=variant)
        put(root / f"results/trace/mini/{variant}", "prompts", traced)
        effects = fake_effects(traced)
        early = (
            (effects["prompt_id"] < 2) & (effects["token"] == 1) & (effects["layer"] == 1)
        )  # two prompts that are not typical
        put(root / f"results/trace/mini/{variant}", "effects", effects.assign(score=effects["score"].mask(early, 0.6)))
    traced = fake_traced(prompts=3)
    put(root / "results/gradients/mini", "prompts", traced)
    put(root / "results/gradients/mini", "attributions", fake_gradients(traced))
    for edit in edits.wanted(VALUES):
        made_up_edit(root, edit | {"n": str(edit["n"])}, evaluate)
    with pytest.MonkeyPatch.context() as patch:
        real = arguments.Job.write
        patch.setattr(
            arguments.Job, "write", lambda job, name, value: real(job, name, value) if name in ("csv", "json") else None
        )
        make_items(root)


def make_items(root):
    for item, spec in PAPER.items():
        suffixes = {"table": ("csv", "md"), "metrics": ("json",), "figure": ("pdf", "png", "csv")}[spec["kind"]]
        variants = {
            name: {"noise": "s3", "extra_tokens": int(name == "extra")} for name in spec.get("variants", ["main"])
        }
        config = {
            "seed": 0,
            "model": {"name": "mini", "trace_window": 2},
            "paper": {},
            "variants": variants,
            "points": sweeps.points(spec),
        }
        flags = [word for flag, paths in inputs(root, item, spec).items() for word in (f"--{flag}", *paths)]
        flags += [
            word for suffix in suffixes for word in (f"--{suffix}", str(root / "figures/mini" / f"{item}.{suffix}"))
        ]
        module = load_item(item)
        module.draw = lambda *arguments: ""
        module.main([*flags, "--model", "mini", "--config", json.dumps(config)])


@pytest.fixture(params=["made up", "run"])
def base(request):
    if request.param == "made up":
        return request.getfixturevalue("made_up")
    if not (ROOT / "results/evaluate/mini").exists():
        pytest.skip("no run lies in the repository: its tables are not in git")
    return ROOT


# By another way. Each takes the folder, the item and its csv, and gives pairs: the number there, the number from raw
# tables.


def table(base, name):
    return pd.read_parquet(base / f"{name}.parquet")


def effect(base, item, csv):
    """Mean score of the last subject token in one layer, less the mean corrupted probability."""
    for variant in csv["variant"].unique() if "variant" in csv else ["main"]:
        scores, prompts = (table(base, f"results/trace/mini/{variant}/{name}") for name in ("effects", "prompts"))
        last = dict(zip(prompts["prompt_id"], prompts["subject_end"] - 1))
        value = "indirect_effect" if "indirect_effect" in csv else "value"
        rows = csv[csv["variant"] == variant] if "variant" in csv else csv[csv["quantity"] == "indirect_effect"]
        for row in rows[(rows["category"] == "Last subject token") & rows["layer"].isin([1, 2])].to_dict("records"):
            at = scores[(scores["site"] == row["site"]) & (scores["layer"] == row["layer"])]
            at = at[at["token"] == at["prompt_id"].map(last)]
            yield row[value], at["score"].mean() - prompts["corrupted"].mean()
            yield row["ci"], 1.96 * at["score"].std(ddof=0) / len(at) ** 0.5


def quoted(base, item, csv):
    prompts, scores = (table(base, f"results/trace/mini/main/{name}") for name in ("prompts", "effects"))
    value = csv.set_index(["row", "column"])["value"]
    yield value["prompts", "total effect"], 100 * (prompts["clean"] - prompts["corrupted"]).mean()
    attention = scores[scores["site"] == "attn"].groupby("prompt_id")["score"].max()
    yield value["attn, any token", "best score of each prompt"], 100 * attention.mean()
    last = scores[(scores["site"] == "mlp")].merge(prompts[["prompt_id", "subject_end", "corrupted"]], on="prompt_id")
    by_layer = (
        last[last["token"] == last["subject_end"] - 1].groupby("layer")["score"].mean() - prompts["corrupted"].mean()
    )
    yield value["mlp, last subject token", f"indirect effect, layer {by_layer.idxmax()}"], 100 * by_layer.max()


def cell(base, item, csv):
    """Single cells of the prompts that are shown."""
    for row in csv.iloc[[0, len(csv) // 2, -1]].to_dict("records"):
        scores = table(base, f"results/trace/mini/{row['variant']}/effects")
        same = scores[["prompt_id", "site", "token", "layer"]] == [
            row[k] for k in ("prompt_id", "site", "token", "layer")
        ]
        yield row["score"], scores[same.all(axis=1)]["score"].item()


def attribution(base, item, csv):
    raw = table(base, "results/gradients/mini/attributions")
    for row in csv.iloc[[0, len(csv) // 2, -1]].to_dict("records"):
        same = raw[["prompt_id", "site", "token", "layer"]] == [row[k] for k in ("prompt_id", "site", "token", "layer")]
        yield row["attribution"], raw[same.all(axis=1)]["attribution"].item()


def per_record(base, row, kind, wanted, after=None):
    """By record, the share of prompts of one kind where the wanted object is the likelier one."""
    scores = table(base, f"results/edit/mini/{row['dataset']}/{row['method']}/n{row['n']}/scores")
    scores = scores[(scores["kind"] == kind) & ((scores["after"] == after) | (after is None))]
    if row["dataset"] == "zsre":
        return scores[scores["target"] == wanted].groupby("case_id")["correct"].mean()
    both = scores.set_index(["case_id", "prompt_index", "target"])["nll"].unstack()
    return (both[wanted] < both["true" if wanted == "new" else "new"]).groupby(level=0).mean()


def score(base, item, csv):
    """Means of each kind of success, one of magnitude, and S, of one editor and the last."""
    csv = csv[csv["method"].notna() & (csv["method"] != "none")]
    for key in csv[["dataset", "method", "n"]].drop_duplicates().iloc[[0, -1]].to_dict("records"):
        own = csv[(csv[list(key)] == list(key.values())).all(axis=1)]
        turns = "by" in str(key["n"])
        last = (
            own["after"].max()
            if "after" in own
            else table(base, f"results/edit/mini/{key['dataset']}/{key['method']}/n{key['n']}/scores")["after"].max()
        )
        after = last if turns else None
        own = (own[own["after"] == last] if turns and "after" in own else own).set_index("metric")["value"]
        kinds = (
            SUCCESS
            if key["dataset"] == "counterfact"
            else {"EA": ("rewrite", "new"), "PA": ("paraphrase", "new"), "NA": ("neighborhood", "true")}
        )
        means = {name: per_record(base, key, *how, after).mean() for name, how in kinds.items() if name != "VS"}
        yield from ((own[name], 100 * mean) for name, mean in means.items() if name in own)
        if "S" in own:
            yield own["S"], 0 if min(means.values()) == 0 else 300 / sum(1 / mean for mean in means.values())
        if "EM" in own:
            scores = table(base, f"results/edit/mini/{key['dataset']}/{key['method']}/n{key['n']}/scores")
            rewrite = scores[(scores["kind"] == "rewrite") & ((scores["after"] == after) | (not turns))]
            by = rewrite.assign(p=np.exp(-rewrite["nll"])).groupby("target")["p"].mean()
            yield own["EM"], 100 * (by["new"] - by["true"])


def traced_and_edited(base, item, csv):
    rows = csv[csv["quantity"] == "ES"]
    name = f"rome-layer-{int(rows['layer'].iloc[0])}-token-subject-last"
    edit = {"dataset": "counterfact", "method": name, "n": 1}
    yield rows["value"].iloc[0], 100 * per_record(base, edit, "rewrite", "new").mean()
    scores, prompts = (table(base, f"results/trace/mini/main/{name}") for name in ("effects", "prompts"))
    last = scores.merge(prompts[["prompt_id", "subject_end"]], on="prompt_id").query(
        "site == 'mlp' and token == subject_end - 1"
    )
    shown = csv[csv["quantity"] == "effect of mlp"].set_index("layer")["value"]
    yield shown[1], last[last["layer"] == 1]["score"].mean() - prompts["corrupted"].mean()


def of_relations(base, item, csv):
    relation = table(base, "data/mini/facts").set_index("case_id")["relation_id"]
    rows = csv[(csv["metric"] == "PS") & (csv["method"] != "none")]
    for row in rows.iloc[[0, -1]].to_dict("records"):
        found = per_record(base, row, "paraphrase", "new")
        yield row["value"], 100 * found[found.index.map(relation).isin(row["relations"].split(" + "))].mean()


def of_mixtures(base, item, csv):
    row = csv[(csv["metric"] == "ES") & csv["n"].str.contains(r"\+") & csv["relations"].str.contains(r"\+")].iloc[0]
    yield row["value"], 100 * per_record(base, row, "rewrite", "new").mean()


def norm(base, item, csv):
    for row in csv.iloc[[0, -1]].to_dict("records"):
        raw = table(base, f"results/edit/mini/{row['dataset']}/{row['method']}/n1/norms").query(
            f"case_id == {row['case_id']}"
        )
        yield row["norm"], (raw["delta_norm"].pow(2).sum() / raw["weight_norm"].pow(2).sum()) ** 0.5


def box(base, item, csv):
    row = csv[(csv["metric"] == "EM") & (csv["method"] == "rome")].set_index("quantity")["value"]
    scores = table(base, "results/edit/mini/counterfact/rome/n1/scores").query("kind == 'rewrite'")
    both = np.exp(-scores.set_index(["case_id", "target"])["nll"].unstack())
    yield row["median"], 100 * (both["new"] - both["true"]).median()


def reverse(base, item, csv):
    first = table(base, "data/mini/facts").set_index("case_id")["prompt"].str.startswith("{}")
    value = csv[csv["metric"] == "success"].set_index(["method", "kind"])
    for method in ("rome", "ft"):
        found = per_record(base, {"dataset": "counterfact", "method": method, "n": 1}, "reverse", "new")
        begins = np.array([first[case] for case in found.index])
        yield value.loc[(method, "reverse"), "value"], 100 * found.mean()
        yield value.loc[(method, "relation first"), "value"], 100 * found[begins].mean()
        yield value.loc[(method, "subject first"), "count"], (~begins).sum()


def perplexity(base, item, csv):
    for row in csv[csv["method"].isin(["rome", "memit"])].drop_duplicates("method").to_dict("records"):
        raw = table(base, f"results/edit/mini/counterfact/{row['method']}/n{row['n']}/drift")
        raw = raw[raw["after"] == row["after"]]
        models = [np.average(rows["nll"], weights=rows["tokens"]) for _, rows in raw.groupby("case_id")]
        before = [np.average(rows["nll_before"], weights=rows["tokens"]) for _, rows in raw.groupby("case_id")]
        yield row["perplexity"], np.exp(np.mean(models))
        yield row["unedited"], np.exp(np.mean(before))
        width = 1.96 * np.std(np.subtract(models, before)) / len(models) ** 0.5
        yield row["high"] / row["low"], np.exp(2 * width)


def compared(base, item, numbers):
    edit = {"dataset": "counterfact", "method": "memit", "n": 1}
    yield numbers["memit"]["PS"], round(100 * per_record(base, edit, "paraphrase", "new").mean(), 2)
    yield (
        numbers["tracing"]["corrupted"],
        round(100 * table(base, "results/trace/mini/main/prompts")["corrupted"].mean(), 2),
    )


def text(base, item, csv):
    for row in csv.iloc[[0, -1]].to_dict("records"):
        raw = table(base, f"results/edit/mini/counterfact/{row['method']}/n1/texts")
        same = (raw["case_id"] == int(row["case_id"])) & (raw["prompt_index"] == int(row["prompt_index"]))
        yield row["text"], raw[same]["text"].item()


def record(base, item, csv):
    name = "zsre" if "zsre" in item else "facts"
    raw = table(base, f"data/mini/{name}").set_index("case_id").loc[int(csv["case_id"].iloc[0])]
    said = csv.set_index("column")["text"]
    yield from ((said[column], raw[column]) for column in ("subject", "target_new"))


def composition(base, item, csv):
    facts, value = table(base, "data/mini/facts"), csv.set_index(["row", "column"])["value"]
    yield value["subjects", "total"], facts["subject"].nunique()
    yield (
        value["paraphrase prompts", "total"],
        len({prompt for prompts in facts["paraphrase_prompts"] for prompt in prompts}),
    )
    yield value["subjects", "per relation"], facts.groupby("relation_id")["subject"].nunique().mean()


HOW = {
    **dict.fromkeys(
        (
            "rome/fig2_average_traces",
            "rome/fig3_severed",
            "rome/fig7_lines",
            "rome/fig13_noise_kinds",
            "rome/fig15_extra_token",
        ),
        effect,
    ),
    **dict.fromkeys(
        (
            "rome/fig1_trace_example",
            "rome/fig10_examples",
            "rome/fig11_atypical",
            "rome/fig12_extra_token",
            "rome/fig14_severed_cases",
        ),
        cell,
    ),
    **dict.fromkeys(("rome/fig6_generations", "rome/fig19_generations", "rome/fig25_attn_edit_generations"), text),
    **dict.fromkeys(("rome/fig21_counterfact_record", "rome/fig22_zsre_record"), record),
    **dict.fromkeys(
        (
            "rome/table1_zsre",
            "rome/table4_counterfact",
            "rome/fig5_sweep",
            "rome/fig17_ft_layers",
            "rome/fig23_attn_edit",
            "memit/fig5_scaling",
            "memit/table1_zsre",
            "memit/table2_counterfact",
            "memit/ablation_weight",
            "memit/ablation_layers",
            "memit/fig9_weight_decay",
        ),
        score,
    ),
    **dict.fromkeys(("memit/fig6_categories", "beyond/relations"), of_relations),
    "rome/table_tracing": quoted,
    "rome/fig16_gradients": attribution,
    "rome/fig24_attn_edit_metrics": box,
    "rome/table2_composition": composition,
    "memit/fig7_mixes": of_mixtures,
    "beyond/edit_norms": norm,
    "beyond/tracing_and_editing": traced_and_edited,
    "beyond/reverse": reverse,
    "beyond/metrics": compared,
    "beyond/perplexity": perplexity,
}


def test_every_item_is_here():
    assert set(HOW) == set(PAPER)


@pytest.mark.parametrize("item", HOW)
def test_numbers_follow_from_the_raw_tables(item, base):
    path = base / "figures/mini" / f"{item}.csv"
    if PAPER[item]["kind"] == "metrics":
        shown = json.loads(path.with_suffix(".json").read_text())
    else:
        shown = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"case_id": "Int64", "text": str})
    pairs = list(HOW[item](base, item, shown))
    assert pairs
    for shown, raw in pairs:
        assert shown == (pytest.approx(raw, rel=2e-5, abs=2e-5) if isinstance(shown, float) else raw)


def test_the_list_the_code_the_pages_and_the_stages_name_the_same_items():
    """params.yaml, workflow/figures, the table in README.md and dvc.yaml; each item once."""
    everything = list(yaml.safe_load((ROOT / "params.yaml").read_text())["paper"])
    code = [
        path.relative_to(ROOT / "workflow/figures").with_suffix("").as_posix()
        for path in sorted((ROOT / "workflow/figures").glob("*/[!_]*.py"))
    ]
    readme = (ROOT / "README.md").read_text().partition("<!-- begin:items -->")[2].partition("<!-- end:items -->")[0]
    listed = re.findall(r"`workflow/figures/(\S+)\.py` \|$", readme, re.MULTILINE)
    commands = re.findall(r"`dvc repro (\S+)@mini`", readme)
    stages = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    named = [item.replace("/", "-") for item in everything]
    assert sorted(everything) == code == sorted(listed) and sorted(commands) == sorted(named)
    assert [stage for stage in stages if "-" in stage] == named


@pytest.mark.parametrize("item", [item for item, spec in PAPER.items() if spec["kind"] != "metrics"])
def test_every_number_is_what_its_declaration_gives(item, base):
    """The whole csv computed again from the record of lineage; and every column followed down to raw rows, where each
    table on the way is what its own declaration gives.
    """
    path = Path("figures/mini") / f"{item}.csv"
    csv = pd.read_csv(base / path, dtype=str, keep_default_na=False)
    table = number_lineage.derived(base, path)
    tables = table.derivation.prepared(table.tables(base), table.job)
    rows = table.derivation.rows(tables, table.job).reset_index(drop=True)
    frame = table.derivation.of_rows(rows, tables)
    assert list(frame) == list(csv) and len(frame) == len(csv)
    for place, row in enumerate(csv.to_dict("records")):
        assert number_lineage.same(frame.iloc[[place]], row), (place, row)
    for column in csv:
        filled = csv.index[csv[column] != ""]
        if len(filled):
            steps = list(number_lineage.steps(base, table, tables, rows.loc[[filled[-1]]], [column]))
            assert steps and all(step.again for step in steps), (column, [step for step in steps if not step.again])
            assert all(len(step.rows) for step in steps if step.total), column
