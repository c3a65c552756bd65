"""Nothing that a user feeds is executed: no pickle, no evaluation, no shell that reads settings, no file outside."""

import ast
import json

import pytest
import yaml

from engram.job import lineage
from engram.settings import params
from repository import ROOT

CODE = sorted([*ROOT.glob("workflow/**/*.py"), *ROOT.glob("tests/**/*.py")])
UNSAFE = {"dill", "joblib", "marshal", "shelve", "cloudpickle"}
SAFE = {"CSafeLoader", "SafeLoader"}
NASTY = """{subject} "; touch pwned; ' $(touch pwned) `touch pwned` ${HOME} \\ & | > pwned # {object}"""


def dangers(source: str):
    """Calls in a source text that could execute what they read, as (line, what)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            yield from ((node.lineno, f"import {name}") for name in names & UNSAFE)
        if (
            isinstance(node, ast.Attribute)
            and getattr(node.value, "id", "") == "pickle"
            and node.attr != "UnpicklingError"
        ):
            yield node.lineno, f"pickle.{node.attr}"
        if isinstance(node, ast.Call):
            yield from ((node.lineno, what) for what in _called(node))


def _called(node: ast.Call):
    name = ast.unparse(node.func)
    words = {word.arg: ast.unparse(word.value) for word in node.keywords}
    if name in ("eval", "exec", "compile", "os.system", "os.popen", "__import__"):
        yield name
    if name == "torch.load" and words.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if name in ("np.load", "numpy.load", "pd.read_pickle") and words.get("allow_pickle") != "False":
        yield f"{name} without allow_pickle=False"
    if name in ("yaml.load", "yaml.load_all", "yaml.compose"):
        loaders = [ast.unparse(one) for one in node.args[1:2]] + [words.get("Loader", "")]
        if not any(loader.removeprefix("yaml.") in SAFE for loader in loaders):
            yield f"{name} without a safe loader"
    unpacks = name.endswith((".extractall", "unpack_archive")) and words.get("filter") != "'data'"
    if name.startswith("yaml.unsafe") or unpacks or words.get("shell") == "True":
        yield f"{name}, shell={words.get('shell')}"
    if "trust_remote_code" in words and words["trust_remote_code"] != "False":
        yield "trust_remote_code"


@pytest.mark.parametrize(
    "line",
    [
        "eval(x)",
        "exec(x)",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "np.load(p)",
        "np.load(p, allow_pickle=True)",
        "yaml.load(t, yaml.Loader)",
        "yaml.load(t)",
        "pickle.load(f)",
        "import joblib",
        "from dill import load",
        "os.system(x)",
        "subprocess.run(x, shell=True)",
        "tar.extractall(p)",
        "f(trust_remote_code=True)",
        "yaml.unsafe_load(x)",
    ],
)
def test_dangers_are_seen(line):
    assert list(dangers(line))


@pytest.mark.parametrize(
    "line",
    [
        "model.eval()",
        "torch.load(p, weights_only=True)",
        "np.load(p, allow_pickle=False)",
        "yaml.load(t, yaml.CSafeLoader)",
        "subprocess.run([x])",
        "ast.literal_eval(x)",
        "yaml.safe_load(t)",
    ],
)
def test_what_is_safe_is_no_danger(line):
    assert not list(dangers(line))


def test_no_code_executes_what_it_reads():
    found = [
        f"{path.relative_to(ROOT)}, line {line}: {what}" for path in CODE for line, what in dangers(path.read_text())
    ]
    assert not found, "\n".join(found)


def test_rules_execute_nothing_but_scripts():
    """What rules put into a shell is quoted (test_laws holds shell: blocks to `:q`); none calls a shell otherwise."""
    for path in [ROOT / "Snakefile", *ROOT.glob("workflow/rules/*.smk")]:
        text = path.read_text()
        assert not [
            word for word in ("eval(", "exec(", "os.system", "shell(", "subprocess", "shell=True") if word in text
        ], path


def replaced(name: str) -> list[dict]:
    """params.yaml with `name` as the name of a model, a source, a method, a variant, a file to fetch, an item, a
    stage.
    """
    good = yaml.load((ROOT / "params.yaml").read_text(), yaml.CSafeLoader)
    found = []
    for section in (
        ["models"],
        ["sources"],
        ["methods"],
        ["trace", "variants"],
        ["fetch", "files"],
        ["paper"],
        ["hypernet", "editors"],
        ["prefixes", "families"],
        ["run", "threads_of"],
    ):
        values = json.loads(json.dumps(good))
        block = values
        for key in section:
            block = block[key]
        block[name] = next(iter(block.values()))
        found.append(values)
    return found


@pytest.mark.parametrize(
    "name", ["a'b", 'a"b', "$(touch pwned)", "`x`", "../a", "a/../b", "a b", "mini\n", "a;b", "-x", "a|b"]
)
def test_names_that_a_shell_or_a_path_would_read_are_refused(tmp_path, name):
    (tmp_path / "workflow").symlink_to(ROOT / "workflow")
    for values in replaced(name):
        path = tmp_path / "params.yaml"
        path.write_text(yaml.dump(values, Dumper=yaml.CSafeDumper, allow_unicode=True))
        with pytest.raises(params.ParamsError):
            params.load(path)


def test_a_text_that_the_schema_allows_reaches_its_stage_as_it_is(sandbox):
    """Quotes, `$()`, backticks in free text: the stage gets them to the letter, and no shell reads them."""
    values = yaml.safe_load((sandbox.path / "params.yaml").read_text())
    values["prefixes"]["families"]["memit"]["starts"] = [NASTY, "The"]
    (sandbox.path / "params.yaml").write_text(yaml.safe_dump(values))
    sandbox.run("snakemake", "results/prefixes/mini/prefixes.parquet", "--cores", "1")
    record = json.loads(lineage.record_path(sandbox.path / "results/prefixes/mini/prefixes.parquet").read_text())
    assert record["params"]["prefixes"]["families"]["memit"]["starts"] == [NASTY, "The"]
    assert not list(sandbox.path.rglob("pwned*"))
