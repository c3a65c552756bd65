"""Size and shape of the corruption for one model, by each noise rule that a variant of tracing asks for.

IN   results/known/{model}/prompts.parquet, data/{model}/text.parquet, the model
OUT  results/noise/{model}/{corruption}/noise.json            rule, sigma
     results/noise/{model}/{corruption}/vectors.safetensors   mean and factor of the rules m and t; empty for the others
"""


rule noise:
    """How strongly the subject is corrupted."""
    input:
        unpack(checkpoint),
        prompts=rules.known.output.known_prompts,
        text=text_of,
    output:
        noise="results/noise/{model}/{corruption}/noise.json",
        vectors="results/noise/{model}/{corruption}/vectors.safetensors",
    log:
        "logs/noise/{model}/{corruption}.log",
    benchmark:
        "logs/noise/{model}/{corruption}.tsv"
    threads: threads_of("noise")
    resources:
        gpu=GPU,
    params:
        config=lambda wc: slice_of(
            "noise", wc.model, decided_by=trace_variants.keys_of_rule(seen(wc.model), wc.model, wc.corruption)),
        weights=flags("manifest", "weights"),
        code=code_of("scripts/noise"),
    shell:
        "python workflow/scripts/noise.py"
        " {params.weights:q}"
        " --prompts {input.prompts:q}"
        " --text {input.text:q}"
        " --noise {output.noise:q}"
        " --vectors {output.vectors:q}"
        " --model {wildcards.model:q}"
        " --rule {wildcards.corruption:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
