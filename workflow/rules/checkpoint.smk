"""What a model is, whatever its source.

IN   results/train/{model}/ or results/convert/{model}/, a folder, or nothing of this repository: the hub
OUT  results/checkpoint/{model}/manifest.json    files, hashes, commit, architecture, licence: every job with a model
                                                 reads it, and refuses other weights
"""


def made_here(wc):
    """The files of a checkpoint that stage `train` or `convert` makes; of another, those of its folder."""
    made = files_made(wc.model)
    return {name: path.format(**wc) for name, path in made.items()} if made else {"files": lying(wc)}


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
        files=flags("weights", "origin", "files"),
        code=code_of("scripts/checkpoint"),
    shell:
        "python workflow/scripts/checkpoint.py"
        " {params.files:q}"
        " --manifest {output.manifest:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
