"""The page without a browser: what is in it, what it says of stale and missing files, that it is the same every
time.
"""

import base64
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from engram.drawing import published_numbers
from engram.editing import records
from engram.job import ledger_entry
from engram.report import edited, packed, run, tables, traced
from engram.settings import params
from toy import tokenizer

STATE = "artifacts are what their lineage records say"


def command(root, *words):
    code = "import sys; from engram.cli import main; sys.exit(main.main(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", code, "report", *words], cwd=root, capture_output=True, text=True)


def embedded(content: bytes, name: str):
    return json.loads(
        re.search(rf'<script type="application/json" id="{name}">(.*?)</script>'.encode(), content, re.DOTALL)[1]
    )


def test_the_command_writes_one_page(site):
    done = command(site.root)
    assert done.returncode == 0, done.stderr
    text = (site.root / "report.html").read_text(encoding="utf-8")
    assert text == site.build().decode(), "the same page every time"
    for item in params.load(site.root / "params.yaml")["paper"]:
        assert f'id="mini-{item.replace("/", "-")}"' in text
        assert f"dvc repro {item.replace('/', '-')}@mini" in text
    assert "snakemake --cores all figures/mini/rome/fig2_average_traces.pdf" in text
    assert "results/trace/mini/main/effects.parquet, prompts.parquet" in text and "texts: 4" in text, "lineage"
    assert "&amp;id0" not in text and "epsilon: 0.0005" not in text, "parameters: no anchors, no other model's values"
    assert STATE in text and "stale" not in re.sub(r"(?s)<style>.*?</style>|<script.*?</script>", "", text)
    assert 'href="http' not in text and 'src="http' not in text


def test_data_cannot_end_a_script(finished, nasty):
    content = finished.build()
    assert b"alert(1)" in content and b"<script>alert" not in content and b"<!-- &" not in content
    texts = embedded(content, "mini-counterfact")["texts"]
    assert sum(text.endswith(nasty) for text in texts) == 2, (
        "one of the unedited model and FT, which write the same, one of ROME"
    )
    assert len(texts) == len(set(texts))
    assert embedded(content, "mini-counterfact")["records"][1]["subject"] == nasty


@pytest.mark.parametrize(
    "missing",
    [
        "figures/mini/rome/fig2_average_traces.png",
        "results/trace/mini/main/effects.parquet",
        "results/edit/mini/counterfact/ft/n1/scores.parquet",
        "data/mini/zsre.parquet",
        "data/mini/reversed.parquet",
    ],
)
def test_a_missing_file_is_named_and_nothing_written(site, missing):
    (site.root / missing).unlink()
    done = command(site.root, "--out", "page.html")
    assert done.returncode == 1 and done.stderr == (
        f"engram report: {missing} does not exist; `snakemake --cores all` makes it\n"
    )
    assert not list(site.root.glob("*.html*")) and not list(site.root.glob(".*.part"))


def test_another_suffix_is_refused(site):
    done = command(site.root, "--out", "params.yaml")
    assert done.returncode == 1 and "ends in .html" in done.stderr
    assert (site.root / "params.yaml").read_text().startswith("seed")


def test_what_is_not_as_it_was_made_is_marked(site):
    path = site.root / "results/known/mini/prompts.parquet"
    path.write_bytes(path.read_bytes() + b" ")
    text = site.build().decode()
    assert STATE not in text and "2 of 5 items are stale" in " ".join(text.split())
    said = "<strong>stale:</strong> results/known/mini/prompts.parquet: the file is not what was written"
    for item, stale in (("rome-fig2_average_traces", True), ("rome-table4_counterfact", False)):
        article = re.search(rf'(?s)<article id="mini-{item}".*?</article>', text)[0]
        assert (said in article) == stale, "also where it is not read directly"
    assert said in re.search(r'(?s)<section id="mini-prompts".*?</section>', text)[0]


def test_a_figure_without_a_record_is_marked(site):
    (site.root / "figures/mini/rome/.lineage/fig6_generations.csv.json").unlink()
    text = site.build().decode()
    assert "stale:</strong> figures/mini/rome/fig6_generations.csv: nothing says where the file comes from" in text
    assert "no lineage:" in text


def test_no_logs_are_no_error(site):
    assert "12.5" in site.build().decode()
    (site.root / "logs/edit/mini/counterfact/rome/n1.tsv").unlink()
    assert "There are no benchmark files" in site.build().decode()


def test_the_machine_of_the_run_is_that_of_its_ledger(site):
    text = site.build().decode()
    assert "as the ledger has them" in text and ledger_entry.machine()["processor"] in text
    shutil.rmtree(site.root / "logs/ledger")
    assert "No ledger of this run is here" in site.build().decode()


def test_a_model_shows_its_own_items(finished):
    text = finished.build(models=["cf500"]).decode()
    assert 'id="cf500-rome-fig2_average_traces"' in text and 'id="cf500-prompts"' in text
    assert "table4" not in text and 'id="cf500-edits"' not in text and 'id="mini' not in text


@pytest.mark.parametrize("model", ["mini", "cf500", "cf20k", "gpt2-xl", "gpt-j-6b", "gpt-neox-20b"])
def test_every_model_has_files_to_show(finished, model):
    values = params.load("params.yaml")
    found = run.Run(finished.root, values, model, {})
    assert all(found.item_files(item) for item in found.values["paper"])
    assert found.trace["effects"].as_posix() == f"results/trace/{model}/main/effects.parquet"
    assert {"rome", "none"} <= set(found.edits["counterfact"])
    settings = found.settings()
    assert list(settings["models"]) == [model] and model in settings["methods"]["rome"]
    assert not {name for block in settings["methods"].values() for name in set(block) & set(values["models"])} - {model}


def test_published_numbers_stand_below(tmp_path):
    about = {"model": "gpt2-xl", "dataset": "counterfact", "n": 1, "ci": 0.5, "count": 7500}
    frame = pd.DataFrame(
        [
            about | {"method": method, "metric": metric, "value": value}
            for method in ("none", "rome")
            for metric, value in (("ES", 50.0), ("NS", 75.0))
        ]
    )
    frame = published_numbers.beside(frame, "data/published.csv", "rome")
    shown = tables.wide(frame.to_csv(index=False).encode(), "gpt2-xl")
    assert shown.heads == ["Editor", "ES", "NS"] and shown.numeric == [False, True, True]
    cells = {row[0].text: row[1:] for row in shown.rows}
    assert cells["ROME"][0] == ("50.0 (0.5)", 50.0, ("100.0 (0.1)", "-50.0"), True)
    assert cells["ROME"][1] == ("75.0 (0.5)", 75.0, ("75.4 (0.7)", "-0.4"), False)
    assert cells["MEND"][0].text == "–" and cells["MEND"][0].value is None and cells["MEND"][0].more == ("99.1 (0.2)",)


def test_rounding_and_gaps():
    values = np.append(np.random.default_rng(0).random(1000), [0, 1, np.nan])
    kept = np.frombuffer(base64.b64decode(packed.probabilities(values)), dtype="<u2")
    assert (
        kept[-1] == packed.NOTHING and (kept[:-1] <= packed.STEPS).all() and kept[-3] == 0 and kept[-2] == packed.STEPS
    )
    assert np.abs(kept[:-1] / packed.STEPS - values[:-1]).max() <= 0.5 / packed.STEPS + 1e-12
    with pytest.raises(ValueError, match=r"1.5"):
        packed.probabilities([0.5, 1.5])


def test_a_missing_score_is_an_error(finished):
    effects, prompts = (finished.table(f"results/trace/mini/main/{name}.parquet") for name in ("effects", "prompts"))
    for wrong in (
        effects.iloc[1:],
        pd.concat([effects, effects.iloc[:1]]),
        pd.concat([effects.iloc[1:], effects.iloc[1:2]]),
    ):
        with pytest.raises(ValueError, match="expected each of 1,008 once"):
            traced.browser(wrong, prompts, 2, "mini")


@pytest.mark.parametrize(("dataset", "path"), [("counterfact", "facts"), ("zsre", "zsre")])
def test_prompts_are_those_that_were_asked(finished, dataset, path):
    table = finished.table(f"data/mini/{path}.parquet")
    if dataset == "counterfact":
        reverse = finished.table("data/mini/reversed.parquet")
        shown, wanted = (
            add(table, reverse)["reverse_prompts"].tolist() for add in (edited.with_reverse, records.with_reverse)
        )
        assert shown == wanted and shown[0] == ["The player of record 0 is"] and shown[1] == []
        table = edited.with_reverse(table, reverse).iloc[2:]
    queries, keys = records.queries(tokenizer(), table, dataset)
    asked = {
        (key["case_id"], key["kind"], key["prompt_index"]): tokenizer().decode(query.prompt_ids)
        for query, key in reversed(list(zip(queries, keys)))
    }
    shown = {
        (row.case_id, kind, index): text
        for row in table.itertuples()
        for kind, index, text in edited.prompts_of(dataset, row)
    }
    assert set(shown) == set(asked)
    assert {key: text.split() for key, text in shown.items()} == {key: text.split() for key, text in asked.items()}


def test_scores_of_unknown_prompts_are_refused(finished):
    scores = finished.table("results/edit/mini/counterfact/rome/n1/scores.parquet").assign(prompt_index=99)
    texts = finished.table("results/edit/mini/counterfact/rome/n1/texts.parquet")
    table, read = finished.table("data/mini/facts.parquet"), {"rome": {"scores": scores, "texts": texts}}
    with pytest.raises(ValueError, match=r"99.* not among the records"):
        edited.browser("counterfact", table, read, "mini")


def test_limits_are_kept_and_said(finished, monkeypatch):
    monkeypatch.setattr(edited, "RECORDS", 5)
    texts = finished.table("results/edit/mini/counterfact/rome/n1/texts.parquet")
    monkeypatch.setattr(edited, "LETTERS", 7 * int(texts["text"].str.len().max()))
    found = finished.build()
    data = embedded(found, "mini-counterfact")
    assert len(data["records"]) == 5 and data["total"] == 7 and data["written"] == 1
    assert list(data["methods"][0]["texts"]) == ["10"]
    assert "The first 5 of 7 records are here" in " ".join(found.decode().split())
