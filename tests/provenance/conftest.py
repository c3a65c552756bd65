"""The finished sandbox, audited in full, and exported."""

import pytest

from engram.provenance import audit, planned_jobs
from engram.settings import params
from made_once import once


@pytest.fixture(scope="session")
def asked(built):
    """What Snakemake says is to be made, asked once."""
    return planned_jobs.wanted(built.path)


@pytest.fixture
def look(sandbox, asked, library, monkeypatch):
    """Every failure of a full audit of the sandbox: path (or stage, for dvc.lock) -> verdict. `ask`: ask Snakemake
    again.
    """

    def full(ask=False) -> dict[str, audit.Verdict]:
        with monkeypatch.context() as patch:
            if not ask:
                patch.setattr(planned_jobs, "wanted", lambda root: asked)
            found = audit.full(sandbox.path, params.load(sandbox.path / "params.yaml"))
        assert len(found) >= len(asked)
        return {str(verdict.path): verdict for verdict in found if verdict.word != audit.OK}

    return full


@pytest.fixture(scope="session")
def exported(built, tmp_path_factory):
    def make(folder):
        text = built.run("engram", "crate", folder / "run").stdout
        assert "jobs and all their files" in text

    return once("crate", make, tmp_path_factory) / "run"
