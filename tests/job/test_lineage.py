"""Digests of code, which only code changes, and records, which show every edit."""

import json

import pytest

from engram.job import lineage


@pytest.fixture
def script(tmp_path):
    """Writes code and returns its digest, read anew."""

    def digest(text: str, folder: str = "workflow") -> str:
        path = tmp_path / folder / "stage.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        lineage._parsed.cache_clear()
        return lineage.code_digest(str(path))

    yield digest
    lineage._parsed.cache_clear()


CODE = "from engram.job import seeds\n\n\ndef main():\n    return seeds.rng(0)\n"


def test_comments_docstrings_and_folders_are_no_code(script):
    commented = '"""What it does."""\nfrom engram.job import seeds  # random numbers\n\n\ndef main():\n'
    commented += '    """Draws."""\n    return seeds.rng(0)\n'
    assert script(CODE) == script(commented) == script(CODE, "elsewhere")
    assert script(CODE) != script(CODE.replace("rng(0)", "rng(1)"))


def test_the_library_counts_as_far_as_it_is_imported(script, tmp_path):
    script(CODE)
    files = set(lineage.modules(str(tmp_path / "workflow" / "stage.py")))
    assert {"workflow/stage.py", "workflow/lib/engram/job/seeds.py", "workflow/lib/engram/job/io.py"} <= files
    assert not any("progress" in name or "model/" in name for name in files), "plumbing, and what is not imported"


def test_the_file_of_a_method_is_read_though_nothing_imports_it():
    roots = lineage.code_roots("edit.py", {"name": "rome-3", "method": "r-rome"})
    assert roots == ["edit.py", str(lineage.LIBRARY / "engram/methods/r_rome.py")]
    assert lineage.code_roots("trace.py", None) == ["trace.py"]


def test_an_edited_record_shows():
    text = lineage.record_text({"sha256": "ab", "params": {"seed": 0}})
    assert lineage.unsealed(text) == json.loads(text) == lineage.seal(json.loads(text))
    for edited in (text.replace("ab", "ac"), text.replace('"seed": 0', '"seed": 1'), text[:-5], "[]", '{"a": 1}'):
        assert lineage.unsealed(edited) is None, edited
