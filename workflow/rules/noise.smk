"""Size and shape of the corruption for one model.

IN   results/known/{model}/prompts.parquet, data/{model}/text.parquet, the model
OUT  results/noise/{model}/noise.json   rule, sigma
"""


rule noise:
    """How strongly the subject is corrupted."""
    input:
        unpack(checkpoint),
        prompts=rules.known.output.known_prompts,
        text=rules.dataset.output.text,
    output:
        noise="results/noise/{model}/noise.json",
    log:
        "logs/noise/{model}.log",
    benchmark:
        "logs/noise/{model}.tsv"
    threads: config["run"]["threads"]
    resources:
        gpu=1,
    params:
        config=lambda wc: slice_of("noise", wc.model, "noise"),
        weights=flags("weights"),
        code=code_of("scripts/noise"),
    shell:
        "python workflow/scripts/noise.py"
        " {params.weights:q}"
        " --prompts {input.prompts:q}"
        " --text {input.text:q}"
        " --noise {output.noise:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
