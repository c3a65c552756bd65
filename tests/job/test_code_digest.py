"""Digests of code, which only code changes."""

from pathlib import Path

import pytest

from engram.job import code_digest


@pytest.fixture
def read(tmp_path):
    """Writes a script and returns what `code_digest.files` says of it."""

    def files(text: str, folder: str = "workflow") -> dict[Path, str]:
        path = tmp_path / folder / "stage.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return code_digest.files(str(path))

    return files


CODE = "from engram.job import seeds\n\n\ndef main():\n    return seeds.rng(0)\n"


def test_comments_docstrings_and_folders_are_no_code(read):
    commented = '"""What it does."""\nfrom engram.job import seeds  # random numbers\n\n\ndef main():\n'
    commented += '    """Draws."""\n    return seeds.rng(0)\n'
    same = {code_digest.digest(files) for files in (read(CODE), read(commented), read(CODE, "elsewhere"))}
    assert len(same) == 1
    assert code_digest.digest(read(CODE.replace("rng(0)", "rng(1)"))) not in same, "read anew"


def test_the_library_counts_as_far_as_it_is_imported(read):
    files = set(code_digest.modules(read(CODE)))
    assert {"workflow/stage.py", "workflow/lib/engram/job/seeds.py", "workflow/lib/engram/job/io.py"} <= files
    assert not any("progress" in name or "model/" in name for name in files), "plumbing, and what is not imported"


def test_what_only_says_where_numbers_come_from_is_no_code_of_a_job(read):
    """A script that imports all of the plumbing has the code of one that imports nothing."""
    text = "".join(f"import {name}\n" for name in sorted(code_digest.PLUMBING))
    assert read(text).keys() - read("").keys() == set()
    assert not [
        name for name in code_digest.PLUMBING if not (code_digest.LIBRARY / f"{name.replace('.', '/')}.py").is_file()
    ]


def test_a_file_is_named_by_what_its_tree_hashes_to(read):
    files = read(CODE)
    (script,) = [path for path in files if path.name == "stage.py"]
    assert code_digest.tree_text(CODE) == files[script]
    assert code_digest.modules(files)["workflow/stage.py"] == code_digest.text_digest(files[script])


def test_the_file_of_a_method_is_read_though_nothing_imports_it():
    def names(method: dict | None) -> list[str]:
        return [Path(root).name for root in code_digest.roots_of("edit.py", method)]

    assert code_digest.roots_of("edit.py", {"name": "rome-3", "method": "r-rome"}) == [
        "edit.py",
        str(code_digest.LIBRARY / "engram/methods/r_rome.py"),
    ]
    assert names({"name": "ft-l", "method": "ft", "layer": 0}) == ["edit.py", "ft.py"], "of a variant, its file"
    assert names({"name": "r-rome"}) == ["edit.py", "r_rome.py"]
    assert names(None) == ["edit.py"]
