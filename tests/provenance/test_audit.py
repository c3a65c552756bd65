"""Audit and lineage: a verdict per artifact, a chain from the figure to the seed."""

import json
import shutil
from pathlib import Path

import pytest

from engram.job import lineage
from engram.provenance import audit, chain

pytestmark = pytest.mark.usefixtures("library")


def words(root) -> dict[str, str]:
    return {str(verdict.path): verdict.word for verdict in audit.verify(root)}


def failed(root) -> dict[str, str]:
    return {path: word for path, word in words(root).items() if word != audit.OK}


def test_a_finished_run_is_in_order(built):
    found = words(built.path)
    assert set(found.values()) == {audit.OK}
    assert {path.split("/")[0] for path in found} == set(audit.FOLDERS)
    assert "results/train/mini/model.safetensors" in found and "figures/mini/rome/table4_counterfact.md" in found


def test_one_flipped_byte_anywhere_is_found(sandbox):
    """In every artifact and in every record of one."""
    for path in audit.artifacts(sandbox.path):
        for file, word in (
            (sandbox.path / path, "modified"),
            (sandbox.path / lineage.record_path(path), "record edited"),
        ):
            content = file.read_bytes()
            place = len(content) // 2
            file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            assert [verdict.word for verdict in audit.verdicts(sandbox.path, [path])] == [word]
            file.write_bytes(content)
    assert failed(sandbox.path) == {}


def test_the_command_names_the_file_and_fails(sandbox):
    path = sandbox.path / "results/trace/mini/main/effects.parquet"
    path.write_bytes(path.read_bytes() + b" ")
    text = sandbox.run("engram", "audit", ok=False).stdout
    assert "modified       results/trace/mini/main/effects.parquet" in text
    assert "input changed  figures/mini/rome/fig2_average_traces.pdf   results/trace/mini/main/effects.parquet" in text
    assert "ok             figures/mini/rome/table4_counterfact.csv" in text
    refused = sandbox.run("engram", "record", ok=False).stdout
    assert refused.startswith("nothing recorded") and "results/trace/mini/main/effects.parquet" in refused


def test_every_verdict(sandbox):
    root = sandbox.path
    (root / "results/trace/mini/main/extra.parquet").write_bytes(b"from nowhere")
    assert failed(root) == {"results/trace/mini/main/extra.parquet": "no record"}
    (root / "results/trace/mini/main/extra.parquet").unlink()

    (root / "figures/mini/rome/fig7_lines.png").unlink()
    assert failed(root) == {"figures/mini/rome/fig7_lines.png": "missing"}
    shutil.copy(root / "figures/mini/rome/fig6_generations.png", root / "figures/mini/rome/fig7_lines.png")
    assert failed(root) == {"figures/mini/rome/fig7_lines.png": "modified"}
    shutil.copy(
        root / "figures/mini/rome/.lineage/fig6_generations.png.json",
        root / "figures/mini/rome/.lineage/fig7_lines.png.json",
    )
    assert failed(root) == {"figures/mini/rome/fig7_lines.png": "modified"}, "another artifact's record does not help"


def test_a_rebuilt_input_breaks_the_chain_below_it(sandbox):
    """A file written anew with a record of its own is in order; what was made from the old one is not."""
    root = sandbox.path
    place = Path("results/evaluate/mini/counterfact/rome/n1/summary.csv")
    (root / place).write_bytes(b"better numbers")
    record = audit.read_record(root, place) | {"sha256": lineage.sha256(root / place)}
    (root / lineage.record_path(place)).write_text(lineage.record_text(record))
    assert failed(root) == {
        f"figures/mini/rome/table4_counterfact.{suffix}": "input changed" for suffix in ("csv", "md")
    }


def test_stale_code(sandbox):
    script = sandbox.path / "workflow/scripts/trace.py"
    script.write_text(script.read_text() + "\n# a comment\n")
    assert failed(sandbox.path) == {}
    script.write_text(script.read_text() + "\nANOTHER = 1\n")
    found = failed(sandbox.path)
    variants = ("main", "severed", "extra", "gaussian", "uniform")
    assert found == {
        f"results/trace/mini/{variant}/{name}.parquet": "stale code"
        for variant in variants
        for name in ("effects", "prompts")
    }


def test_the_tree_goes_from_the_figure_to_the_seed(built):
    text = built.run("engram", "lineage", "figures/mini/rome/fig2_average_traces.pdf").stdout
    lines = text.splitlines()
    assert lines[0].startswith("figures/mini/rome/fig2_average_traces.pdf   sha256 ")
    chain = [
        "effects, traced: results/trace/mini/main/effects.parquet, prompts.parquet",
        "prompts: results/known/mini/prompts.parquet",
        "weights: results/train/mini/model.safetensors, config.json",
        "corpus: data/mini/corpus.parquet",
    ]
    places = [next(index for index, line in enumerate(lines) if part in line) for part in chain]
    assert places == sorted(places), "each is below what was made from it"
    depths = [lines[index].index(chain[number]) for number, index in enumerate(places)]
    assert depths == sorted(set(depths)), "and deeper"
    assert "stage dataset" in lines[places[-1] + 1] and "seed 0" in lines[places[-1] + 1]
    assert any("samples=10" in line for line in lines[places[0] : places[1]])
    assert text.count("stage train") == text.count("stage dataset") == 1, "a job is described once"
    assert "(shown above)" in text
    head = built.git("rev-parse", "HEAD").strip()[:12]
    assert (
        f"commit {head}, started 20" in lines[2]
        and " s, on " in lines[2]
        and lines[3].strip("│ ").startswith("command: ")
    )
    assert lines[-1] == "verified: 17 artifacts, 0 raw inputs" and "torch " in lines[-2]


def test_the_chain_for_machines(built, monkeypatch):
    """JSON holds every file and job of the chain and nothing dangling; Mermaid and graphviz draw all of its edges."""
    monkeypatch.chdir(built.path)
    found = json.loads(chain.main(".", "figures/mini/rome/fig2_average_traces.pdf", "json"))
    assert found["artifact"] == "figures/mini/rome/fig2_average_traces.pdf" and len(found["files"]) == 17
    assert {edge[end] for edge in found["edges"] for end in ("from", "to")} == {*found["files"], *found["jobs"]}
    for path, file in found["files"].items():
        record = audit.read_record(built.path, Path(path))
        assert file["sha256"] == record["sha256"] and found["jobs"][file["job"]]["params"] == record["params"]
    stages = {job["stage"] for job in found["jobs"].values()}
    assert stages == {"fig2_average_traces", "trace", "known", "noise", "checkpoint", "train", "dataset"}
    assert all(job["seconds"] > 0 and job["commit"] and job["packages"] for job in found["jobs"].values())
    drawn, graph = (chain.main(".", found["artifact"], form) for form in ("mermaid", "dot"))
    assert drawn.count(" --> ") == graph.count(" -> ") == len(found["edges"])
    assert drawn.startswith("flowchart TD\n") and graph.startswith("digraph lineage {\n") and graph.endswith("}")
    assert chain._quoted('a"b\\c') == '"a\\"b\\\\c"' and chain._html('<"&>') == "&lt;&quot;&amp;&gt;"


def test_the_chain_says_what_is_not_in_order(sandbox):
    path = sandbox.path / "results/known/mini/prompts.parquet"
    path.write_bytes(b"other prompts")
    shutil.rmtree(sandbox.path / "logs")
    (sandbox.path / "ledger.jsonl").unlink()
    text = sandbox.run("engram", "lineage", "figures/mini/rome/fig2_average_traces.pdf").stdout
    assert "not in order: results/known/mini/prompts.parquet: modified" in text and "verified" not in text
    assert "commit, time and duration not known here" in text


@pytest.mark.parametrize("place", ["figures/mini/rome/fig99.pdf", "params.yaml"])
def test_no_lineage(built, place):
    assert f"{place}: no lineage" in built.run("engram", "lineage", place, ok=False).stdout


def test_records_say_what_was_used(built):
    record = json.loads((built.path / "results/trace/mini/main/.lineage/effects.parquet.json").read_text())
    assert record["command"][0] == "workflow/scripts/trace.py" and "--config" not in record["command"]
    assert record["params"]["trace"]["samples"] == 10 and record["seed"] == 0
    assert record["keys"] == {"model": "mini", "variant": "main"} and "variants" not in record["params"]["trace"]
    inputs = {one["path"] for one in record["inputs"]}
    assert {
        "results/known/mini/prompts.parquet",
        "results/noise/mini/s3/noise.json",
        "results/train/mini/model.safetensors",
        "results/train/mini/tokenizer.json",
    } <= inputs


def test_the_ledger_says_when_and_from_which_commit(built):
    place = Path("results/trace/mini/main/effects.parquet")
    record = audit.read_record(built.path, place)
    entry = json.loads((built.path / f"logs/ledger/{place}.json").read_text())
    assert entry == lineage.seal(entry) and entry["record"] == record["digest"][:16]
    assert entry["commit"] == built.git("rev-parse", "HEAD").strip() and entry["dirty"] is False
    assert entry["machine"]["python"] and entry["started"].endswith("+00:00")
    text = json.dumps(record)
    assert entry["commit"] not in text and entry["started"] not in text and entry["machine"]["system"] not in text
    assert "workflow/scripts/trace.py" in record["modules"] and "workflow/lib/engram/cli.py" not in record["modules"]


def test_a_line_of_the_ledger_per_job(built, sandbox):
    """`engram record` gathers entries and durations; the same records keep their line, others get the entry of their
    job.
    """
    from engram.provenance.ledger import Ledger

    book, place = Ledger(built.path), Path("results/trace/mini/main/effects.parquet")
    rows = [row["records"] for row in book.rows]
    assert sorted(path for row in rows for path in row) == [str(path) for path in audit.artifacts(built.path, ["mini"])]
    assert {"results/trace/mini/main/effects.parquet", "results/trace/mini/main/prompts.parquet"} in [
        set(row) for row in rows
    ]
    assert all(row["seconds"] > 0 for row in book.rows)
    before = (built.path / "ledger.jsonl").read_text()
    shutil.rmtree(sandbox.path / "logs")
    record = audit.read_record(sandbox.path, place)
    assert Ledger(sandbox.path).of(place, record)["commit"] == built.git("rev-parse", "HEAD").strip(), (
        "as in a fresh clone"
    )
    sandbox.run("snakemake", "--forcerun", "trace", "--until", "trace")
    assert "ledger.jsonl" not in sandbox.run("engram", "record").stdout
    assert (sandbox.path / "ledger.jsonl").read_text() == before, "the same bytes made again"
    (sandbox.path / "ledger.jsonl").unlink()
    assert Ledger(sandbox.path).of(Path("data/mini/facts.parquet"), record) is None
    sandbox.run("engram", "record")
    assert {
        stage for row in Ledger(sandbox.path).rows for path in row["records"] for stage in [Path(path).parts[1]]
    } == {"trace"}
