"""Every stage once through its command line, on a world small enough for seconds: outputs, keys, lineage,
determinism.
"""

import pandas as pd
import pytest
import torch

from engram.job import io, lineage
from stage_chain import EDIT, MODEL, ROME, call, chain, made, read


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    yield read(made(tmp_path_factory))
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
    again = chain(tmp_path, draw=False)  # of figures, test_paper_items says it
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
    assert known["probability"].between(0, 1).all() and (zsre["target_true"] != zsre["target_new"]).all()


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
        {
            name: found[name]
            for name in ("manifest", "weights", "facts", "reversed", "heldout", "prefixes", "moments", "targets")
        }
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
