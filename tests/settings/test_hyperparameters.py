"""Methods' files are read without being imported: what is read is what they are, and every block of params.yaml
fits.
"""

import dataclasses
import importlib
from pathlib import Path

import pytest
import yaml

from engram.editing import editor
from engram.settings import families, hyperparameters, objective

VALUES = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
BLOCKS = [(slug, model) for slug in VALUES["methods"] for model in hyperparameters.blocks_of(VALUES, slug)]


def similar(name, known):
    return f"one of {sorted(known)}"


@pytest.mark.parametrize("file", hyperparameters.files())
def test_what_is_read_is_what_is_imported(file):
    module = importlib.import_module(f"engram.methods.{file.replace('-', '_')}")
    found = {name: "required" if key.required else key.default for name, key in hyperparameters.keys_of(file).items()}
    right = {
        field.name: "required" if field.default is dataclasses.MISSING else field.default
        for field in dataclasses.fields(module.Settings)
    }
    assert found == right
    assert (hyperparameters.constant(file, "NEEDS"), hyperparameters.constant(file, "REGIMES")) == (
        module.NEEDS,
        module.REGIMES,
    )


@pytest.mark.parametrize(("slug", "model"), BLOCKS, ids=[f"{slug}-{model}" for slug, model in BLOCKS])
def test_every_block_makes_settings(slug, model):
    """As a job gets them: what the dataclass itself refuses would stop a run halfway; and its family makes the
    values.
    """
    block = families.method_of(VALUES, slug, model)
    settings = editor.settings(block)
    own = {
        key: tuple(value) if isinstance(value, list) else value for key, value in VALUES["methods"][slug][model].items()
    }
    assert {key: getattr(settings, key) for key in own if key != "family"} == {
        k: v for k, v in own.items() if k != "family"
    }
    if "targets" in hyperparameters.needs(VALUES, slug):
        family = families.values_of(VALUES, families.family_of(VALUES, slug, model), model)
        wanted = objective.of_method(editor.load(family).Settings, family)
        assert all(getattr(settings, key) == getattr(wanted, key) for key in objective.KEYS), "as the values were made"


def test_a_variant_is_the_method_of_its_file():
    values = {"methods": {"ft-x": {"method": "ft", "records": 50, "mini": {"layer": 3, "epsilon": 0.5}}, "none": {}}}
    block = families.method_of(values, "ft-x", "mini")
    assert block == {"name": "ft-x", "method": "ft", "layer": 3, "epsilon": 0.5}
    assert editor.load(block) is editor.load("ft") and editor.settings(block).epsilon == 0.5
    assert families.named(values, "none") == {"name": "none"} and families.named(values, None) is None
    assert hyperparameters.needs(values, "ft-x") == () and hyperparameters.regimes(values, "ft-x")[0] == "single"
    assert hyperparameters.blocks_of(values, "ft-x") == {"mini": values["methods"]["ft-x"]["mini"]}


def test_a_new_file_is_read_like_the_others(tmp_path, monkeypatch):
    """With base classes, classes imported under other names, optional and nested types; what cannot be read is
    named.
    """
    (tmp_path / "methods").mkdir()
    (tmp_path / "shared.py").write_text(
        "class Base:\n    a: int\n    b: float = 0.5\n\nclass Other(Base):\n    b: float = 2.0\n"
    )
    file = tmp_path / "methods" / "toy.py"
    file.write_text(
        "from engram import shared\nclass Settings(shared.Other):\n    a: int = 1\n    c: str | None\n"
        "    d: tuple[int, ...] = ()\n    e: tuple[float, float] | None = None\n"
    )
    (tmp_path / "methods" / "second_toy.py").write_text("NEEDS = ()\nfrom engram.shared import Other as Settings\n")
    (tmp_path / "methods" / "bad.py").write_text("class Settings:\n    a: int = len('abc')\n")
    (tmp_path / "methods" / "worse.py").write_text("class Settings:\n    a: complex\n")
    monkeypatch.setattr(hyperparameters, "LIBRARY", tmp_path)
    for cached in (hyperparameters.keys_of, hyperparameters.constant, hyperparameters._body):
        cached.cache_clear()
    assert hyperparameters.files() == ["bad", "second-toy", "toy", "worse"]
    keys = hyperparameters.keys_of("toy")
    assert {name: key.required for name, key in keys.items()} == {
        "a": False,
        "b": False,
        "c": True,
        "d": False,
        "e": False,
    }
    assert keys["b"].default == 2.0 and hyperparameters.keys_of("second-toy")["a"].required
    fits = {"a": [1], "b": [1, 0.5], "c": ["x", None], "d": [[], [1, 2]], "e": [None, [0.5, 1]]}
    bad = {
        "a": [True, 0.5, "1"],
        "b": [True, "1e-3", None],
        "c": [1],
        "d": [3, ["a"], None],
        "e": [[1], [1, 2, 3], "x"],
    }
    assert all(keys[name].fits(value) for name, values in fits.items() for value in values)
    assert not any(keys[name].fits(value) for name, values in bad.items() for value in values)
    with pytest.raises(ValueError, match=r"bad.py: the default of field a must be written out, found len"):
        hyperparameters.keys_of("bad")
    with pytest.raises(ValueError, match=r"worse.py: field a of type complex; known are int, float"):
        hyperparameters.keys_of("worse")
    with pytest.raises(ValueError, match=r"toy.py: no NEEDS"):
        hyperparameters.constant("toy", "NEEDS")
    values = {"models": {"mini": {}}, "methods": {"toy": {"mini": {"f": 1, "a": "1"}}}}
    assert [key for key, _, _ in hyperparameters.problems(values, "toy", "mini", similar)] == [
        ("methods", "toy", "mini", "f"),
        ("methods", "toy", "mini", "a"),
        ("methods", "toy", "mini"),
    ]


@pytest.fixture(autouse=True)
def fresh():
    yield
    for cached in (hyperparameters.keys_of, hyperparameters.constant, hyperparameters._body):
        cached.cache_clear()
