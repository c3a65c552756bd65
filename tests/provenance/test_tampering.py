"""What an audit must catch: bytes, records, ledger and dvc.lock tampered with, singly and together; other params, other
code.
"""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from engram.job import ledger_entry, lineage
from engram.provenance import audit, dvc_lock, planned_jobs, rerun
from engram.settings import params
from sandboxes import Sandbox

EFFECTS = Path("results/trace/mini/main/effects.parquet")
PROMPTS = EFFECTS.with_name("prompts.parquet")
FIGURE = Path("figures/mini/rome/fig7_lines.png")
TABLE = Path("figures/mini/rome/table4_counterfact.csv")


@pytest.fixture(scope="module")
def asked(built):
    """What Snakemake says is to be made, asked once."""
    return planned_jobs.wanted(built.path)


@pytest.fixture
def look(sandbox, asked, library, monkeypatch):
    """Every failure of a full audit of the sandbox: path (or stage, for dvc.lock) -> verdict. `ask`: ask Snakemake
    again; `read`: read the code again.
    """

    def full(ask=False, read=False) -> dict[str, audit.Verdict]:
        if read:
            lineage._parsed.cache_clear()
        with monkeypatch.context() as patch:
            if not ask:
                patch.setattr(planned_jobs, "wanted", lambda root: asked)
            found = audit.full(sandbox.path, params.load(sandbox.path / "params.yaml"))
        assert len(found) >= len(asked)
        return {str(verdict.path): verdict for verdict in found if verdict.word != audit.OK}

    return full


def words(found: dict) -> dict[str, str]:
    return {path: verdict.word for path, verdict in found.items()}


def forge(sandbox: Sandbox, place: Path, content: bytes, everything: bool = False) -> None:
    """Other bytes with a record that fits them; with `everything`, also the ledger's entry of the job."""
    (sandbox.path / place).write_bytes(content)
    record = audit.read_record(sandbox.path, place) | {
        "sha256": lineage.sha256(sandbox.path / place),
        "bytes": len(content),
    }
    (sandbox.path / lineage.record_path(place)).write_text(lineage.record_text(record))
    if everything:
        file = sandbox.path / f"logs/ledger/{place}.json"
        began = {key: value for key, value in json.loads(file.read_text()).items() if key not in ("digest", "record")}
        file.write_bytes(ledger_entry.entry(began, record))


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
    assert found["trace@mini"].detail == "params trace: not what params.yaml has"
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
    found = look(read=True)
    assert found[str(EFFECTS)].word == "stale code" and f"{script} (changed)" in found[str(EFFECTS)].detail


def test_an_edited_ledger(look, sandbox):
    file = sandbox.path / f"logs/ledger/{FIGURE}.json"
    kept = file.read_text()
    head = sandbox.git("rev-parse", "HEAD").strip()
    file.write_text(kept.replace(head, "0" * 40))
    assert look()[f"logs/ledger/{FIGURE}.json"].word == "ledger"
    file.write_text(kept)
    lines = (sandbox.path / "ledger.jsonl").read_text()
    (sandbox.path / "ledger.jsonl").write_text(lines.replace('"dirty": false', '"dirty": true', 1))
    assert words(look()) == {"ledger.jsonl, line 1": "ledger"}
    assert "ledger.jsonl, line 1: edited" in sandbox.run("engram", "record", ok=False).stdout


def test_a_ledger_that_names_another_commit(look, sandbox):
    """Sealed anew, but the code of that commit is other code."""
    script = sandbox.path / "workflow/figures/rome/fig7_lines.py"
    kept = script.read_text()
    script.write_text(kept + "\nANOTHER = 1\n")
    sandbox.git("commit", "--quiet", "--all", "--message", "another")
    other = sandbox.git("rev-parse", "HEAD").strip()
    script.write_text(kept)
    sandbox.git("commit", "--quiet", "--all", "--message", "back")
    assert look() == {}
    file = sandbox.path / f"logs/ledger/{FIGURE}.json"
    entry = json.loads(file.read_text()) | {"commit": other}
    file.write_text(json.dumps(lineage.seal(entry)))
    found = look()
    assert words(found) == {str(FIGURE): "ledger"}
    assert (
        f"commit {other[:12]}, but there workflow/figures/rome/fig7_lines.py is other code" in found[str(FIGURE)].detail
    )


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


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("outs", lambda entry: entry["outs"][0].update(md5="0" * 32 + ".dir")),
        ("size", lambda entry: entry["outs"][0].update(size=1)),
        ("deps", lambda entry: entry["deps"][0].update(md5="0" * 32)),
        ("fewer", lambda entry: entry["deps"].pop()),
        ("cmd", lambda entry: entry.update(cmd="true")),
        ("params", lambda entry: entry["params"]["params.yaml"].update(seed=1)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_hand_edited_lock(look, sandbox, old, new):
    lock = dvc_lock.read(sandbox.path / "dvc.lock")
    new(lock["stages"]["trace@mini"])
    (sandbox.path / "dvc.lock").write_text(yaml.dump(lock, Dumper=yaml.CSafeDumper))
    assert words(look()) == {"trace@mini": "dvc.lock"}


def test_a_stage_that_is_not_in_the_lock(look, sandbox):
    lock = dvc_lock.read(sandbox.path / "dvc.lock")
    del lock["stages"]["trace@mini"]
    (sandbox.path / "dvc.lock").write_text(yaml.dump(lock, Dumper=yaml.CSafeDumper))
    assert look()["trace@mini"].detail == "is not in dvc.lock"


def test_dirty_code(look, sandbox):
    """Run with code that no commit has: said, until it is committed; `engram record` says it too. A comment is no
    code.
    """
    script = sandbox.path / "workflow/figures/rome/fig7_lines.py"
    script.write_text(script.read_text() + "\n# a comment\n")
    assert "uncommitted" not in words(look(read=True)).values()
    script.write_text(script.read_text() + "\nANOTHER = 1\n")
    sandbox.run("snakemake", "--cores", "2")
    assert "commit workflow/figures/rome/fig7_lines.py" in sandbox.run("engram", "record").stdout
    found = look(read=True)
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


def test_made_again(sandbox, asked, library):
    """In a scratch copy: the same bytes, and nothing changes here. A forged artifact has others; broken ones are
    refused.
    """
    before = sandbox.git("status", "--short", "--ignored")
    drawn = rerun.sample(sandbox.path, 3, audit.verify(sandbox.path))
    assert drawn == rerun.sample(sandbox.path, 3, audit.verify(sandbox.path)), "the sample is seeded"
    assert drawn != rerun.sample(sandbox.path, 3, audit.verify(sandbox.path), seed=1)
    compared = [one for path in (drawn[0], EFFECTS) for one in rerun.rerun(sandbox.path, path, asked)]
    assert {drawn[0], EFFECTS, PROMPTS} <= {one.path for one in compared} and all(one.same for one in compared)
    assert sandbox.git("status", "--short", "--ignored") == before
    forge(sandbox, EFFECTS, b"other numbers", everything=True)
    assert {one.path: one.same for one in rerun.rerun(sandbox.path, EFFECTS, asked)} == {EFFECTS: False, PROMPTS: True}
    with pytest.raises(ValueError, match=r"input changed .* only what is in order can be made again"):
        rerun.rerun(sandbox.path, FIGURE, asked)


def test_a_benchmark_for_every_job(built, asked):
    from engram.provenance import ledger

    assert all(ledger.seconds(built.path, path) > 0 for path in asked)


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
