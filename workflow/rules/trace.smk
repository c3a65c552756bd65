"""Causal tracing (ROME Sec. 2), in the variants of trace.variants.

IN   results/known/{model}/prompts.parquet, results/noise/{model}/{corruption}/, the model
OUT  results/trace/{model}/{variant}/effects.parquet   one row per prompt, site, token, layer
     results/trace/{model}/{variant}/prompts.parquet   one row per traced prompt
"""


def corruption_of(wc):
    """The files of stage `noise` for the noise rule of one variant."""
    found = trace_variants.noise_of(config, wc.model, wc.variant)
    return {name: path.format(model=wc.model, corruption=found) for name, path in rules.noise.output.items()}


rule trace:
    """What restoring one hidden state, MLP window or attention window brings back."""
    input:
        unpack(checkpoint),
        unpack(corruption_of),
        prompts=rules.known.output.known_prompts,
    output:
        effects="results/trace/{model}/{variant}/effects.parquet",
        traced="results/trace/{model}/{variant}/prompts.parquet",
    log:
        "logs/trace/{model}/{variant}.log",
    benchmark:
        "logs/trace/{model}/{variant}.tsv"
    priority: 100  # long
    threads: threads_of("trace")
    resources:
        gpu=GPU,
    params:
        config=lambda wc: slice_of(
            "trace", wc.model, "trace_window",
            trace=Derived(trace_variants.section(seen(wc.model)["trace"], wc.variant),
                          trace_variants.keys_of(config, wc.model, wc.variant)),
            decided_by=[f"paper.{item}" for item in trace_variants.items_of(seen(wc.model), wc.variant)]),
        weights=flags("manifest", "weights"),
        code=code_of("scripts/trace"),
    shell:
        "python workflow/scripts/trace.py"
        " {params.weights:q}"
        " --prompts {input.prompts:q}"
        " --noise {input.noise:q}"
        " --vectors {input.vectors:q}"
        " --effects {output.effects:q}"
        " --traced {output.traced:q}"
        " --model {wildcards.model:q}"
        " --variant {wildcards.variant:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
