"""Items as one model sees them, and facts of chosen relations."""

import os
from pathlib import Path

import pandas as pd
import pytest
import yaml

from engram.editing import records
from engram.settings import edits, items, params, sweeps
from engram.settings.fact_groups import FactGroup
from repository import ROOT

ITEM = {"kind": "figure", "from": ["evaluate"], "dataset": "counterfact", "methods": ["none", "rome"], "n": 100}
SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def values(**spec):
    found = yaml.safe_load(yaml.safe_dump(SHIPPED))
    return found | {"paper": {"rome/table4_counterfact": ITEM | spec}}


def test_a_line_holds_for_all_models_but_for_what_it_gives_one():
    found = values(**{"for": {"mini": {"n": [1, 10], "records": 7}, "gpt2-xl": {"methods": ["rome"]}}})
    seen = {
        model: items.seen(found, model)["paper"]["rome/table4_counterfact"] for model in ("mini", "gpt2-xl", "cf500")
    }
    assert seen == {"mini": ITEM | {"n": [1, 10], "records": 7}, "gpt2-xl": ITEM | {"methods": ["rome"]}, "cf500": ITEM}
    assert items.seen(values(models=["mini"]), "cf500")["paper"] == {}
    assert items.seen(found, "gpt2-xl")["run"]["models"] == ["gpt2-xl"] and found["run"]["models"] == ["mini"]
    assert items.place(found, "mini", ("paper", "rome/table4_counterfact", "n", 0)) == (
        "paper",
        "rome/table4_counterfact",
        "for",
        "mini",
        "n",
        0,
    )
    assert items.place(found, "mini", ("paper", "rome/table4_counterfact", "methods")) == (
        "paper",
        "rome/table4_counterfact",
        "methods",
    )


@pytest.mark.parametrize(
    ("spec", "key", "says"),
    [
        ({"for": {"mnii": {"n": 1}}}, "for.mnii", "did you mean `mini`?"),
        ({"models": ["mnii"]}, "models[0]", "did you mean `mini`?"),
        ({"models": ["cf500"], "for": {"mini": {"n": 1}}}, "for.mini", "one of its `models`"),
        ({"for": {"mini": {}}}, "for.mini", ""),
        ({"for": {"mini": {"kind": "table"}}}, "for.mini.kind", "known are"),
        ({"for": {"mini": {"n": "10by20"}}}, "for.mini.n", "a batch of at most 10"),
        ({"for": {"mini": {"methods": ["none", "rmoe"]}}}, "for.mini.methods[1]", "did you mean `rome`?"),
        ({"n": "10of2+2"}, "n", "each once"),
        ({"n": "1of2+3"}, "n", "with a fact at least"),
        ({"n": "10of1", "dataset": "zsre"}, "n", "of zsre none"),
        (
            {"for": {"mini": {"sweep": {"method": "rome", "over": {"layer": [9]}}}}},
            "for.mini.sweep.over.layer[0]",
            "a layer of the",
        ),
    ],
)
def test_what_is_wrong_for_one_model_is_said_where_it_stands(spec, key, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink(ROOT / "workflow", tmp_path / "workflow")
    Path("params.yaml").write_text(yaml.safe_dump(values(**spec), sort_keys=False))
    with pytest.raises(params.ParamsError) as error:
        params.load("params.yaml")
    assert f": paper.rome/table4_counterfact.{key}\n  found: " in str(error.value) and says in str(error.value), (
        error.value
    )


@pytest.mark.parametrize("model", list(SHIPPED["models"]))
def test_every_shipped_model_can_be_made_the_active_one(model, tmp_path, monkeypatch):
    """`run.models: [<model>]` is the one line: its items, hyperparameters, networks and layers are all there."""
    monkeypatch.chdir(tmp_path)
    os.symlink(ROOT / "workflow", tmp_path / "workflow")
    Path("params.yaml").write_text(
        yaml.safe_dump(SHIPPED | {"run": SHIPPED["run"] | {"models": [model]}}, sort_keys=False)
    )
    seen = items.seen(params.load("params.yaml"), model)
    assert len(seen["paper"]) >= 12 and edits.wanted(seen)


FACTS = pd.DataFrame({"case_id": range(12), "relation_id": list("aabbbbcccddd")})  # b 4, c 3, d 3, a 2


def chosen(count, known=range(12), **more):
    found = records.chosen(
        FACTS, pd.DataFrame({"case_id": range(12), "correct": [i in known for i in range(12)]}), count, True, **more
    )
    return list(found["case_id"])


def test_facts_of_relations_by_their_rank():
    """1: the relation with most records that can be edited; equals by name."""
    assert chosen(3) == [0, 1, 2]
    assert chosen(3, of=(1,)) == [2, 3, 4] and chosen(2, of=(2,)) == [6, 7] and chosen(2, of=(4,)) == [0, 1]
    assert chosen(4, of=(3, 1)) == [2, 3, 9, 10], "as many of each, in table order"
    assert chosen(2, known=[0, 1, 2, 6, 7, 8], of=(1,)) == [6, 7], "ranks count what can be edited"
    assert chosen(1, groups=[[2, [1]], [2, [1, 4]]]) == [0, 2, 3], "all that any edit reads, each once"
    with pytest.raises(ValueError, match="5 records of relation b are wanted, 4 can be edited"):
        chosen(5, of=(1,))
    with pytest.raises(ValueError, match="relation 5 by number of records: there are 4 relations"):
        chosen(1, of=(5,))


def test_groups_of_relations_enter_what_is_made_for_all():
    found = sweeps.expanded(values(n=[1, "100of2", "50of1+3"], methods=["rome", "memit", "mend"], records=80))
    assert edits.counts(found, "mini")["counterfact", "rome", FactGroup(100, ranks=(2,))] == 100, (
        "not 80: the word says how many"
    )
    groups = {"count": 80, "groups": [[50, [1, 3]], [100, [2]]]}
    assert edits.targets(found, "mini") == {("counterfact", "rome"): groups, ("counterfact", "memit"): groups}
    assert edits.hypernets(found, "mini") == {"mend": groups}, "none of them is trained on"
    assert edits.count(found, "mini", "counterfact", "rome", FactGroup(30, ranks=(9,))) == 30
