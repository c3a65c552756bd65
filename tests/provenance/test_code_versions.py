"""Code of other commits: a ledger that names a commit with other code is noticed."""

import json

from engram.job import lineage
from tampered_runs import FIGURE, words


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
