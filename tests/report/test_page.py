"""The page without a browser: what is in it, what it says of stale and missing files, that it is the same every
time.
"""

import re
import shutil
import subprocess
import sys

import pytest

from embedded_data import embedded
from engram.cli import main
from engram.job import ledger_entry
from engram.settings import params

STATE = "artifacts are what their lineage records say"


def command(root, *words):
    code = "import sys; from engram.cli import main; sys.exit(main.main(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", code, "report", *words], cwd=root, capture_output=True, text=True)


def test_the_command_writes_one_page(site):
    done = command(site.root)
    assert done.returncode == 0, done.stderr
    text = (site.root / "report.html").read_text(encoding="utf-8")
    assert text == site.build().decode(), "the same page every time"
    for item in params.load(site.root / "params.yaml")["paper"]:
        assert f'id="mini-{item.replace("/", "-")}"' in text
        assert f"dvc repro {item.replace('/', '-')}@mini" in text
    assert "snakemake --cores all rome-fig2_average_traces@mini" in text
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
def test_a_missing_file_is_named_and_nothing_written(site, missing, monkeypatch, capsys):
    (site.root / missing).unlink()
    monkeypatch.chdir(site.root)
    assert main.main(["report", "--out", "page.html"]) == 1
    said = capsys.readouterr().err
    assert said == f"engram report: {missing} does not exist; `snakemake --cores all` makes it\n"
    assert not list(site.root.glob("*.html*")) and not list(site.root.glob(".*.part"))


def test_another_suffix_is_refused(site, monkeypatch, capsys):
    monkeypatch.chdir(site.root)
    assert main.main(["report", "--out", "params.yaml"]) == 1 and "ends in .html" in capsys.readouterr().err
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
