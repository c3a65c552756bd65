"""Text that the model writes itself, for a source whose `text` is `own`.

IN   the model
OUT  results/sampled/{model}/text.parquet      articles for second moments of keys
     results/sampled/{model}/heldout.parquet   passages that edited models read
"""


def text_of(wc):
    """The text that second moments, and noise of some kinds, are taken of: the source's, or the model's own."""
    stage = rules.sampled if stages.writes_text(config, wc.model) else rules.dataset
    return stage.output.text.format(**wc)


rule sampled:
    """Articles and held-out passages, sampled from the model."""
    input:
        unpack(checkpoint),
    output:
        text="results/sampled/{model}/text.parquet",
        heldout="results/sampled/{model}/heldout.parquet",
    log:
        "logs/sampled/{model}.log",
    benchmark:
        "logs/sampled/{model}.tsv"
    threads: threads_of("sampled")
    resources:
        gpu=GPU,
    params:
        config=lambda wc: slice_of("sampled", wc.model),
        weights=flags("manifest", "weights"),
        code=code_of("scripts/sampled"),
    shell:
        "python workflow/scripts/sampled.py"
        " {params.weights:q}"
        " --text {output.text:q}"
        " --heldout {output.heldout:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
