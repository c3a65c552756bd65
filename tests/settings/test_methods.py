"""What methods say about themselves, without torch; every block of params.yaml fits."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from engram.editing import editor
from engram.settings import families, methods, objective

VALUES = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
BLOCKS = [(slug, model) for slug in VALUES["methods"] for model in methods.blocks_of(VALUES, slug)]


def test_the_heads_of_methods_load_without_torch():
    """What params.yaml is checked with: needs, regimes and hyperparameters of every method."""
    code = (
        "import sys; from engram.settings import methods; "
        "print([(name, methods.load(name).NEEDS, methods.load(name).REGIMES, len(methods.keys_of(name)))"
        " for name in methods.files()]); sys.exit(bool({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert ("rome", ("prefixes", "covariance", "targets"), ("single", "sequential"), 12) in ast.literal_eval(run.stdout)


@pytest.mark.parametrize("file", methods.files())
def test_every_hyperparameter_is_described(file):
    keys = methods.keys_of(file)
    assert all(field.description for field in keys.values()) and bool(keys) == (file != "none")


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
    if "targets" in methods.needs(VALUES, slug):
        family = families.values_of(VALUES, families.family_of(VALUES, slug, model), model)
        wanted = objective.of_method(editor.load(family).Settings, family)
        assert all(getattr(settings, key) == getattr(wanted, key) for key in objective.KEYS), "as the values were made"


def test_a_variant_is_the_method_of_its_file():
    values = {"methods": {"ft-x": {"method": "ft", "records": 50, "mini": {"layer": 3, "epsilon": 0.5}}, "none": {}}}
    block = families.method_of(values, "ft-x", "mini")
    assert block == {"name": "ft-x", "method": "ft", "layer": 3, "epsilon": 0.5}
    assert editor.load(block) is editor.load("ft") and editor.settings(block).epsilon == 0.5
    assert families.named(values, "none") == {"name": "none"}
    assert methods.needs(values, "ft-x") == () and methods.regimes(values, "ft-x")[0] == "single"
    assert methods.blocks_of(values, "ft-x") == {"mini": values["methods"]["ft-x"]["mini"]}
