"""A bad params.yaml dies at once, with file and line, the key, what was found there and what would be right."""

import os
import resource

import pytest
from conftest import ROOT

from engram import console, params

GOOD = (ROOT / "params.yaml").read_text(encoding="utf-8")
# (text of params.yaml, what stands there instead, key of the message, what else the message must say)
BAD = [
    ("samples: 10", "smaples: 10", "trace.smaples", "did you mean `samples`?"),
    ("samples: 10", "samples: ten", "trace.samples", "a whole number"),
    ("samples: 10", "samples: 0", "trace.samples", "at least 1"),
    ("samples: 10", "samples: 10\n  samples: 11", "trace.samples", "a second time"),
    ("replace: false", "replace: 1", "trace.replace", "true or false"),
    ("stream: counter", "stream: conter", "trace.stream", "did you mean `counter`?"),
    ("models: [mini]", "models: mini", "run.models", "a list"),
    ("models: [mini]", "models: [minii]", "run.models[0]", "did you mean `mini`?"),
    ("models: [mini]", "models: []", "run.models", "at least 1"),
    ("models: [mini]", "models: [mini, mini]", "run.models", "every entry once"),
    ("models: [mini]", "modles: [mini]", "run.modles", "did you mean `models`?"),
    ("device: auto", "device: gpu", "run.device", "auto, cpu, cuda"),
    ("seed: 0", "seed: -1", "seed", "at least 0"),
    ("seed: 0", "sed: 0", "sed", "did you mean `seed`?"),
    ("kind: world", "kind: wurld", "sources.world.kind", "did you mean `world`?"),
    ("kind: world", "kynd: world", "sources.world.kind", "the key is missing"),
    ("source: world", "source: wrld", "models.mini.source", "did you mean `world`?"),
    ("noise: s3", "noise: z3", "models.mini.noise", "s[f]"),
    ("noise: s3", "noise: u", "models.mini.noise", "u<bound>"),
    ("noise: us3", "noise: t2", "trace.variants.uniform.noise", "degrees of freedom above 2"),
    ("noise: us3", "noise: -1", "trace.variants.uniform.noise", "sigma as a number"),
    ("    uniform: {noise", "    uniform: {nois", "trace.variants.uniform.nois", "did you mean `noise`?"),
    ("extra: {extra_tokens", "extra: {extra_token", "trace.variants.extra.extra_token", "did you mean `extra_tokens`?"),
    ("extra: {extra_tokens: 1", "extra: {extra_tokens: one", "trace.variants.extra.extra_tokens", "a whole number"),
    ("    main: {}", "    mian: {}", "trace.variants.main", "the key is missing"),
    ("no_mlp, no_attn]", "no_mpl, no_attn]", "trace.variants.severed.sites[1]", "did you mean `no_mlp`?"),
    ("    uniform: {", "    Uniform Noise: {", "trace.variants", "a word of the form"),
    ("[gaussian, uniform]", "[gaussian, unifrom]", "paper.rome/fig13_noise_kinds.variants[1]", "did you mean `uniform`?"),
    ("from: [evaluate],", "from: [evaluate], variants: [main],", "paper.rome/table4_counterfact.variants", "from: [trace]"),
    ("{count: 5}", "{prompts: {mni: [3]}}", "paper.rome/fig10_examples.options.prompts.mni", "did you mean `mini`?"),
    ("{count: 5}", "{prompts: [3]}", "paper.rome/fig10_examples.options.prompts", "a block of keys"),
    ("{count: 5}", "{prompts: {mini: [3.5]}}", "paper.rome/fig10_examples.options.prompts.mini[0]", "a whole number or a word"),
    ("train: {", "trian: {", "models.mini.trian", "did you mean `train`?"),
    ("    train: {", "    hub: x/y\n    train: {", "models.mini.revision", "either `train`, or `hub` and `revision`"),
    ("none: {}", "none: {layer: 3}", "methods.none.layer", "no keys here"),
    ("  rome:\n", "  romme:\n", "methods.romme", "did you mean `rome`?"),
    ("methods: [none, rome]", "methods: [none, rmoe]", "paper.rome/fig6_generations.methods[1]", "did you mean `rome`?"),
    ("rome/fig7_lines:", "rome/fig7_line:", "paper.rome/fig7_line", "did you mean `rome/fig7_lines`?"),
    ("from: [trace]", "from: [trase]", "paper.rome/fig1_trace_example.from[0]", "did you mean `trace`?"),
    ("from: [trace]", "from: [trace], n: 1", "paper.rome/fig1_trace_example.n", "Only an item `from` edit or evaluate"),
    (", n: 1}", "}", "paper.rome/fig6_generations.n", "the key is missing"),
    ("kind: table", "kind: tabel", "paper.rome/table4_counterfact.kind", "did you mean `table`?"),
    ("seed: 0", "seed: [0", "", "not YAML"),
    ("seed: 0", "1: 0", "1", "a word"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    os.symlink(ROOT / "workflow", tmp_path / "workflow")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_shipped_file_is_good(folder, capsys):
    (folder / "params.yaml").write_text(GOOD)
    assert console.main(["check"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("old, new, key, says", BAD, ids=[bad[1].strip()[:40].replace("\n", " ") for bad in BAD])
def test_bad_files(folder, capsys, old, new, key, says):
    assert old in GOOD, f"params.yaml no longer holds {old!r}: change this test"
    (folder / "params.yaml").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(SystemExit) as left:
        console.main(["check"])
    message = capsys.readouterr().err
    assert left.value.code == 2
    assert f": {key}\n  found: " in message if key else message.startswith("params.yaml: ")
    assert message.startswith("params.yaml") and says in message, message


def replaced(section: list, value):
    """params.yaml with the value at `section` replaced, whatever its text looks like."""
    import yaml

    values = yaml.safe_load(GOOD)
    node = values
    for key in section[:-1]:
        node = node[key]
    node[section[-1]] = value
    return yaml.safe_dump(values)


@pytest.mark.parametrize("section, value, key, says", [
    (["models", "mini", "train", "heads"], 5, "models.mini.train.width", "a multiple of heads, 5"),
    (["models", "mini", "train", "length"], 4096, "models.mini.train.length", "at most context"),
    (["models", "mini", "train", "rate"], "2e-3", "models.mini.train.rate", "write 0.001"),
    (["models", "mini", "trace_window"], 99, "models.mini.trace_window", "at most the model's"),
    (["models", "mini", "covariance_layers"], [99], "models.mini.covariance_layers[0]", "a layer of the model"),
    (["methods", "rome", "mini", "layer"], 99, "methods.rome.mini.layer", "covariance_layers"),
    (["methods", "rome"], {}, "paper.rome/table4_counterfact.methods[1]", "a block methods.rome.mini"),
    (["edit", "generation_tokens"], 4096, "models.mini.train.context", "at least 4096"),
    (["prefixes", "families", "rome", "lengths"], [[5, 10], 10], "prefixes.families.rome.lengths[1]", "a list"),
    (["methods", "rome", "mini", "contexts"], "mimit", "methods.rome.mini.contexts", "did you mean `memit`?"),
    (["methods", "rome", "mini", "family"], "romme", "methods.rome.mini.family", "did you mean `rome`?"),
    (["methods", "rome", "mini", "site"], "mpl", "methods.rome.mini.site", "did you mean `mlp`?"),
    (["trace"], 3, "trace", "a block of keys"),
])
def test_bad_values(folder, section, value, key, says):
    (folder / "params.yaml").write_text(replaced(section, value))
    with pytest.raises(params.ParamsError) as error:
        params.load(folder / "params.yaml")
    assert f": {key}\n" in str(error.value) and says in str(error.value), error.value


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("old, new, says", [
    (old, new, says) for old, new, key, says in BAD if key in (
        "trace.smaples", "run.models[0]", "trace.variants.uniform.nois", "paper.rome/fig13_noise_kinds.variants[1]")])
def test_snakemake_and_dvc_say_the_same(sandbox, old, new, says):
    """Both end with our message and no traceback, within three seconds of computing."""
    sandbox.edit("params.yaml", old, new)
    for command in (["snakemake", "--cores", "all"], ["dvc", "repro"]):
        before = cpu_seconds()
        text = sandbox.run(*command, ok=False).stdout
        assert cpu_seconds() - before < 3
        assert says in text and "params.yaml, line " in text and "Traceback" not in text, text
    assert sandbox.run("engram", "check", ok=False).returncode == 2


def test_a_list_is_said_to_be_missing_by_dvc(sandbox):
    """DVC expands run.models before any command runs: its own message, still at once and without a traceback."""
    sandbox.edit("params.yaml", "models: [mini]", "models: mini")
    text = sandbox.run("dvc", "repro", ok=False).stdout
    assert "expected list/dictionary, got str" in text and "Traceback" not in text


def test_needs_of_reads_every_method():
    assert params.needs_of("none") == ()
    assert set(params.needs_of("rome")) <= {"prefixes", "covariance", "targets"}
