"""Known vulnerabilities: an audit that was not done is no audit."""

import json
import sys

from engram.machine import advisories


def answer(packages: list) -> list[str]:
    """A command that says what pip-audit would."""
    return [sys.executable, "-c", f"print({json.dumps(json.dumps({'dependencies': packages}))})"]


def test_an_audit_that_was_not_done_is_no_audit(capsys):
    """Statuses 0, 1 and 3: all asked about and none affected, one affected, not all asked about."""
    fine = {"name": "a", "version": "1", "vulns": []}
    bad = {"name": "b", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
    unknown = {"name": "c", "version": "1", "skip_reason": "not found"}
    assert advisories.ask(command=answer([fine])) == 0
    assert advisories.ask(command=answer([fine, unknown])) == 3
    assert "NOT AUDITED: 1 packages" in capsys.readouterr().err
    assert advisories.ask(command=answer([fine, bad, unknown])) == 1
    assert "b 1: CVE-1, fixed in 2" in capsys.readouterr().err
    assert advisories.ask(command=[sys.executable, "-c", "raise SystemExit('no network')"]) == 3
    assert "NOT AUDITED" in (said := capsys.readouterr().err) and "no network" in said
