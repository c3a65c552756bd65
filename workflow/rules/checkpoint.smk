"""What a model is, whatever its source.

IN   results/train/{model}/, results/convert/{model}/, a folder, or nothing of this repository: the hub
OUT  results/checkpoint/{model}/manifest.json    files, hashes, commit, architecture, licence: every job with a model
                                                 reads it, and refuses other weights
"""


def files_made(model):
    """The files of a checkpoint that a stage makes, by name: `train` or `convert`; none for one that is published."""
    block = config["models"][model]
    stage = rules.train if "train" in block else rules.convert if stages.converted(block) else None
    return {name: path for name, path in stage.output.items() if name != "loss"} if stage else {}


def made_here(wc):
    """The files of a checkpoint that stage `train` or `convert` makes; of another, those of its folder."""
    made = {name: path.format(**wc) for name, path in files_made(wc.model).items()}
    return made | {"files": [] if made else lying(wc)}


def checkpoint(wc):
    """What a model is, and its files, where a stage makes them."""
    files = {name: path for name, path in files_made(wc.model).items() if name != "origin"}
    return {name: path.format(**wc) for name, path in (files | {"manifest": rules.checkpoint.output.manifest}).items()}


rule checkpoint:
    """The manifest of one model."""
    input:
        unpack(made_here),
    output:
        manifest="results/checkpoint/{model}/manifest.json",
    log:
        "logs/checkpoint/{model}.log",
    benchmark:
        "logs/checkpoint/{model}.tsv"
    threads: threads_of("checkpoint")
    resources:
        gpu=GPU,
    params:
        config=lambda wc: slice_of("checkpoint", wc.model),
        state=lambda wc: [] if files_made(wc.model) else as_they_are(wc),
        weights=flags("weights", "origin"),
        code=code_of("scripts/checkpoint"),
    shell:
        "python workflow/scripts/checkpoint.py"
        " {params.weights:q}"
        " --files {input.files:q}"
        " --manifest {output.manifest:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
