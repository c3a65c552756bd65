"""What an audit must catch: bytes, records, ledger and dvc.lock tampered with, singly and together; other params, other
code.
"""

import shutil
from pathlib import Path

from engram.job import lineage
from engram.provenance import audit
from tampered_runs import EFFECTS, FIGURE, TABLE, forge, words


def test_a_finished_run_is_in_order(look, sandbox):
    assert look(ask=True) == {}
    text = sandbox.run("engram", "audit", "--failed").stdout
    assert text.count("\n") == 1 and "0 failed" in text


def test_a_flipped_byte_and_dvc_commit_after_it(look, sandbox):
    content = (sandbox.path / EFFECTS).read_bytes()
    (sandbox.path / EFFECTS).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    found = words(look())
    assert found.pop(str(EFFECTS)) == "modified"
    assert found.pop("trace@mini") == "dvc.lock" and found.pop("gradients@mini") == "dvc.lock"
    assert {word for path, word in found.items() if not path.endswith("@mini")} == {"input changed"}
    sandbox.run("dvc", "commit", "--force")
    assert "up to date" in sandbox.run("dvc", "status").stdout, "dvc commit certifies any bytes"
    found = words(look())
    assert found[str(EFFECTS)] == "modified" and "dvc.lock" not in found.values()


def test_another_artifact_in_its_place(look, sandbox):
    """Two files swapped with their records."""
    one, other = EFFECTS, Path("results/trace/mini/severed/effects.parquet")
    for path, twin in ((one, other), (lineage.record_path(one), lineage.record_path(other))):
        kept = (sandbox.path / path).read_bytes()
        shutil.copy(sandbox.path / twin, sandbox.path / path)
        (sandbox.path / twin).write_bytes(kept)
    found = look()
    assert found[str(one)].word == "stale params" and "trace.prompts" not in found[str(one)].detail
    assert 'trace.tokens: "subject_last", now "all"' in found[str(one)].detail
    assert found[str(other)].word == "stale params"


def test_made_with_other_params(look, sandbox):
    """A run with other params, put back under these; and params.yaml changed after the run."""
    sandbox.edit("params.yaml", "samples: 10", "samples: 11")
    found = look(ask=True)
    assert found[str(EFFECTS)].word == "stale params" and found[str(EFFECTS)].detail == "trace.samples: 10, now 11"
    assert found["trace@mini"].detail == "params trace.samples: not what params.yaml has"
    sandbox.run("snakemake", EFFECTS)
    sandbox.edit("params.yaml", "samples: 11", "samples: 10")
    found = look()
    assert found[str(EFFECTS)].detail == "trace.samples: 11, now 10"


def test_from_an_older_commit(look, sandbox):
    """Code that has changed since, with the artifact of the old code brought back: what changed is named."""
    kept = {path: (sandbox.path / path).read_bytes() for path in (EFFECTS, lineage.record_path(EFFECTS))}
    script = "workflow/scripts/trace.py"
    (sandbox.path / script).write_text((sandbox.path / script).read_text() + "\nANOTHER = 1\n")
    sandbox.git("commit", "--quiet", "--all", "--message", "another")
    sandbox.run("snakemake", EFFECTS)
    for path, content in kept.items():
        (sandbox.path / path).write_bytes(content)
    found = look()
    assert found[str(EFFECTS)].word == "stale code" and f"{script} (changed)" in found[str(EFFECTS)].detail


def test_a_forged_end_of_the_chain(look, sandbox):
    """A table with better numbers, its record and dvc.lock made to fit: the ledger still has the record that the job
    wrote; with that forged too, what git keeps has it.
    """
    forge(sandbox, TABLE, b"better numbers")
    assert words(look()) == {str(TABLE): "ledger", "rome-table4_counterfact@mini": "dvc.lock"}
    forge(sandbox, TABLE, b"better numbers", everything=True)
    sandbox.run("dvc", "commit", "--force")
    assert look() == {}, "nothing here speaks against it any more"
    shown = sandbox.run("engram", "audit", "--deep", TABLE, ok=False).stdout
    assert f"other bytes    {TABLE}" in shown, "making it again does"


def test_dirty_code(look, sandbox):
    """Run with code that no commit has: said, until it is committed; `engram record` says it too."""
    script = sandbox.path / "workflow/figures/rome/fig7_lines.py"
    script.write_text(script.read_text() + "\nANOTHER = 1\n")
    sandbox.run("snakemake", FIGURE)
    assert "commit workflow/figures/rome/fig7_lines.py" in sandbox.run("engram", "record").stdout
    found = look()
    assert words(found) == {str(FIGURE.with_suffix(f".{end}")): "uncommitted" for end in ("pdf", "png", "csv")}
    assert found[str(FIGURE)].detail == "workflow/figures/rome/fig7_lines.py"
    assert "with uncommitted changes" in sandbox.run("engram", "lineage", FIGURE).stdout
    sandbox.git("commit", "--quiet", "--all", "--message", "code and what it made")
    assert look() == {}


def test_missing_and_unaccounted(look, sandbox):
    """A lost file with its record, a lost folder; files that no rule makes, with and without a record, also of no
    model.
    """
    root = sandbox.path
    (root / EFFECTS).unlink()
    (root / lineage.record_path(EFFECTS)).unlink()
    shutil.rmtree(root / "results/noise/mini/m")
    (root / "figures/mini/rome/fig99.png").write_bytes(b"drawn by hand")
    (root / "results/notes.txt").write_bytes(b"mine")
    shutil.copytree(root / "results/trace/mini/extra", root / "results/trace/mini/more")
    shutil.copytree(root / "results/trace/mini/extra", root / "results/trace/unknown")
    shutil.copytree(root / "results/trace/mini/extra", root / "results/trace/gpt2-xl")
    found = words(look())
    assert found[str(EFFECTS)] == "not made" and found["results/noise/mini/m/noise.json"] == "not made"
    strange = {
        "figures/mini/rome/fig99.png",
        "results/notes.txt",
        "results/trace/mini/more/effects.parquet",
        "results/trace/mini/more/prompts.parquet",
        "results/trace/unknown/effects.parquet",
        "results/trace/unknown/prompts.parquet",
    }
    assert {path for path, word in found.items() if word == "no rule"} == strange, "gpt2-xl is a model of params.yaml"
    detail = next(verdict.detail for path, verdict in look().items() if path == "noise@mini")
    assert "results/noise/mini: other than in dvc.lock" in detail and "m/noise.json" in detail


def test_figures_of_a_model_that_is_not_active_may_stand_alone(look, sandbox):
    """Git keeps the figures of `mini`; what they were made from is not here when another model is run."""
    shutil.rmtree(sandbox.path / "results/trace/mini")
    assert words(look())[str(FIGURE)] == "input absent", "of an active model that is a failure"
    sandbox.edit("params.yaml", "models: [mini]", "models: [gpt2-xl]")
    found = words(look(ask=True))
    assert found[str(FIGURE)] == "other model" and "input absent" not in found.values() and "not made" in found.values()
    text = audit.report([audit.Verdict(FIGURE, "other model", str(EFFECTS)), audit.Verdict(TABLE, audit.OK)])
    assert text.endswith("2 artifacts, 1 ok, 1 of other models, 0 failed")
    (sandbox.path / FIGURE).write_bytes(b"something else")
    assert words(look(ask=True))[str(FIGURE)] == "modified"
