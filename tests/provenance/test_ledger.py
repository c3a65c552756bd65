"""The ledger: an edited entry or line is noticed; every job has its seconds."""

from tampered_runs import FIGURE, words


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


def test_a_benchmark_for_every_job(built, asked):
    from engram.provenance import ledger

    assert all(ledger.seconds(built.path, path) > 0 for path in asked)
