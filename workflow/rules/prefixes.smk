"""Context texts that the model itself writes (ROME Sec. 3.1).

IN   the model
OUT  results/prefixes/{model}/prefixes.parquet   one row per family and text
"""


rule prefixes:
    """The sampled context texts of one model."""
    input:
        unpack(checkpoint),
    output:
        prefixes="results/prefixes/{model}/prefixes.parquet",
    log:
        "logs/prefixes/{model}.log",
    benchmark:
        "logs/prefixes/{model}.tsv"
    threads: threads_of("prefixes")
    resources:
        gpu=GPU,
    params:
        config=lambda wc: slice_of("prefixes", wc.model),
        weights=flags("manifest", "weights"),
        code=code_of("scripts/prefixes"),
    shell:
        "python workflow/scripts/prefixes.py"
        " {params.weights:q}"
        " --prefixes {output.prefixes:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
