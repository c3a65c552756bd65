"""README blocks: filled from the figures folder alone, and a stale number is named."""

import shutil

import pytest

from engram.report import readme
from engram.settings import params

TEXT = """# engram

<!-- begin:numbers -->
<!-- end:numbers -->
between
<!-- begin:table4 -->
old table
<!-- end:table4 -->
<!-- begin:gallery rome/fig7_lines rome/fig2_average_traces -->
<!-- end:gallery -->
<!-- begin:items -->
<!-- end:items -->
the end
"""


@pytest.fixture
def clone(drawn, fakes, tmp_path):
    """A folder with README.md and figures/mini, and the command's arguments for it."""
    shutil.copytree(drawn.made, tmp_path / "figures" / "mini" / "rome")
    (tmp_path / "README.md").write_text(TEXT)
    argv = [
        "--readme",
        tmp_path / "README.md",
        "--figures",
        tmp_path / "figures" / "mini",
        "--code",
        fakes.root / "workflow" / "figures",
        "--params",
        fakes.root / "params.yaml",
    ]
    return tmp_path, [str(word) for word in argv]


def test_blocks_are_filled_once_and_then_up_to_date(clone, fakes, capsys):
    folder, argv = clone
    assert readme.main([*argv, "--check"]) == 1
    assert "stale blocks: numbers, table4, gallery, items" in capsys.readouterr().err
    assert (folder / "README.md").read_text() == TEXT  # --check changes nothing
    assert readme.main(argv) == 0
    text = (folder / "README.md").read_text()
    assert readme.main([*argv, "--check"]) == 0 and readme.main(argv) == 0
    assert (folder / "README.md").read_text() == text
    assert text.startswith("# engram\n") and text.endswith("the end\n") and "\nbetween\n" in text
    assert "Over 8 prompts that `mini` completes correctly" in text
    assert "| ROME | 90.0 | 91.0 (0.5) |" in text and "ROME over 200 counterfactual edits" in text
    assert "![rome/fig2_average_traces](figures/mini/rome/fig2_average_traces.png)" in text
    assert "Average indirect effect (AIE)" in text
    assert text.count("![") == 2 and text.index("![rome/fig7") < text.index("![rome/fig2"), (
        "the named pictures, in order"
    )
    assert "ROME Fig. 2; for the other models Fig. 8" in text and "severed" in text
    for item in params.load(fakes.root / "params.yaml")["paper"]:
        assert f"`dvc repro {item.replace('/', '-')}@mini` | `workflow/figures/{item}.py` |" in text
    names = (
        "ROME Fig. 3; for GPT-J MEMIT Fig. 3 |",
        "ROME Fig. 10 |",
        "ROME Table 4;",
        "MEMIT Fig. 5 |",
        "beyond the papers",
    )
    places = [text.index(f"| {name}") for name in names]
    assert places == sorted(places), "papers as they come, items by number"


def test_a_changed_number_is_named(clone, capsys):
    folder, argv = clone
    readme.main(argv)
    text = (folder / "README.md").read_text()
    (folder / "README.md").write_text(text.replace("| ROME | 90.0 |", "| ROME | 99.0 |"))
    assert readme.main([*argv, "--check"]) == 1
    assert "stale blocks: table4;" in capsys.readouterr().err
    (folder / "README.md").write_text(text)
    table = folder / "figures" / "mini" / "rome" / "fig2_average_traces.csv"
    lines = table.read_text().splitlines()
    changed = [line.replace(line.split(",")[5], "0.123") if "average_total_effect" in line else line for line in lines]
    table.write_text("\n".join(changed) + "\n")
    assert readme.main([*argv, "--check"]) == 1
    assert "stale blocks: numbers;" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<!-- begin:table4 -->\nold table\n<!-- end:table4 -->\n", "", "once"),
        ("<!-- begin:table4 -->", "<!-- begin:table5 -->", "table5"),
        ("<!-- end:table4 -->", "", "must end"),
    ],
)
def test_broken_markers_are_refused(clone, capsys, old, new, message):
    folder, argv = clone
    (folder / "README.md").write_text(TEXT.replace(old, new))
    assert readme.main(argv) == 2
    assert message in capsys.readouterr().err


def test_without_names_the_gallery_shows_all(clone):
    folder, argv = clone
    (folder / "README.md").write_text(TEXT.replace(" rome/fig7_lines rome/fig2_average_traces -->", " -->"))
    assert (
        readme.main(argv) == 0
        and (folder / "README.md").read_text().count("![") == len(list(folder.rglob("*.png"))) > 10
    )


def test_a_missing_artifact_is_named(clone, capsys):
    folder, argv = clone
    (folder / "figures" / "mini" / "rome" / "table4_counterfact.md").unlink()
    assert readme.main([*argv, "--check"]) == 2
    assert "table4_counterfact.md does not exist" in capsys.readouterr().err


def test_a_picture_that_is_not_there_is_named(clone, capsys):
    folder, argv = clone
    (folder / "README.md").write_text(TEXT.replace("rome/fig7_lines", "rome/fig77"))
    assert readme.main(argv) == 2 and "rome/fig77.png does not exist" in capsys.readouterr().err
