"""The folder that a stage runs in."""

import sys

import pytest


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # guard_process changes it
    (tmp_path / "logs").mkdir()
    (tmp_path / "stage.py").write_text("")
    return tmp_path
