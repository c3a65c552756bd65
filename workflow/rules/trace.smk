"""Causal tracing (ROME Sec. 2).

IN   results/known/{model}/prompts.parquet, results/noise/{model}/noise.json, the model
OUT  results/trace/{model}/effects.parquet   one row per prompt, site, token, layer
     results/trace/{model}/prompts.parquet   one row per traced prompt
"""


rule trace:
    """What restoring one hidden state, MLP window or attention window brings back."""
    input:
        unpack(checkpoint),
        prompts=rules.known.output.known_prompts,
        noise=rules.noise.output.noise,
    output:
        effects="results/trace/{model}/effects.parquet",
        traced="results/trace/{model}/prompts.parquet",
    log:
        "logs/trace/{model}.log",
    benchmark:
        "logs/trace/{model}.tsv"
    threads: config["run"]["threads"]
    resources:
        gpu=1,
    params:
        config=lambda wc: slice_of("trace", wc.model, "trace_window"),
        weights=flags("weights"),
        code=code_of("scripts/trace"),
    shell:
        "python workflow/scripts/trace.py"
        " {params.weights:q}"
        " --prompts {input.prompts:q}"
        " --noise {input.noise:q}"
        " --effects {output.effects:q}"
        " --traced {output.traced:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
