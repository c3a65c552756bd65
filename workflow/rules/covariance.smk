"""Second moment of the keys, all wanted layers from one pass over the text (ROME eq. 2).

IN   data/{model}/text.parquet, the model
OUT  results/covariance/{model}/moments.safetensors   sums of k kT per layer; numbers of keys and all that follows
     results/covariance/{model}/counts.json           whose keys they are: model, revision, tokenizer, texts; ranks
"""


rule covariance:
    """The uncentred second moment of the keys of every wanted layer."""
    input:
        unpack(checkpoint),
        text=text_of,
    output:
        moments="results/covariance/{model}/moments.safetensors",
        counts="results/covariance/{model}/counts.json",
    log:
        "logs/covariance/{model}.log",
    benchmark:
        "logs/covariance/{model}.tsv"
    threads: threads_of("covariance")
    resources:
        gpu=GPU,
    params:
        config=lambda wc: slice_of("covariance", wc.model, "covariance_layers"),
        weights=flags("manifest", "weights"),
        code=code_of("scripts/covariance"),
    shell:
        "python workflow/scripts/covariance.py"
        " {params.weights:q}"
        " --text {input.text:q}"
        " --moments {output.moments:q}"
        " --counts {output.counts:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
