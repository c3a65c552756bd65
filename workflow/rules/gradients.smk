"""Integrated gradients of some traced prompts (ROME Fig. 16).

IN   results/known/{model}/prompts.parquet, the model; of the variant main of stage `trace`:
     results/noise/{model}/{corruption}/, results/trace/{model}/{variant}/
OUT  results/gradients/{model}/attributions.parquet   one row per prompt, site, token, layer
     results/gradients/{model}/prompts.parquet        one row per prompt
"""


def traced_with(wc):
    """The noise of the main variant of stage `trace`, and its table of prompts."""
    name = trace_variants.MAIN
    keys = {"model": wc.model, "variant": name, "corruption": trace_variants.noise_of(config, wc.model, name)}
    files = rules.noise.output.items()
    return {name: path.format(**keys) for name, path in files} | {"traced": rules.trace.output.traced.format(**keys)}


rule gradients:
    """How much of an answer's probability each activation accounts for."""
    input:
        unpack(checkpoint),
        unpack(traced_with),
        prompts=rules.known.output.known_prompts,
    output:
        attributions="results/gradients/{model}/attributions.parquet",
        attributed="results/gradients/{model}/prompts.parquet",
    log:
        "logs/gradients/{model}.log",
    benchmark:
        "logs/gradients/{model}.tsv"
    threads: threads_of("gradients")
    resources:
        gpu=GPU,
    params:
        config=lambda wc: slice_of(
            "gradients", wc.model,
            trace=Derived(trace_variants.section(seen(wc.model)["trace"], trace_variants.MAIN),
                          trace_variants.keys_of(config, wc.model, trace_variants.MAIN))),
        weights=flags("manifest", "weights"),
        code=code_of("scripts/gradients"),
    shell:
        "python workflow/scripts/gradients.py"
        " {params.weights:q}"
        " --prompts {input.prompts:q}"
        " --noise {input.noise:q}"
        " --vectors {input.vectors:q}"
        " --traced {input.traced:q}"
        " --attributions {output.attributions:q}"
        " --attributed {output.attributed:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
