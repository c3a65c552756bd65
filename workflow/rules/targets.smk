"""Optimised values, one per fact (ROME eq. 4, MEMIT Sec. 4.2), for every family of methods that share them.

IN   data/{model}/{facts,zsre}.parquet, results/known/{model}/{facts,zsre}.parquet, prefixes, the model
OUT  results/targets/{model}/{dataset}/{family}.safetensors   value and initial, one row per fact
     results/targets/{model}/{dataset}/{family}.parquet       log of the optimisation
"""


rule targets:
    """What the edited layer should return for each fact."""
    input:
        unpack(checkpoint),
        unpack(records_of),
        prefixes=rules.prefixes.output.prefixes,
    output:
        targets="results/targets/{model}/{dataset}/{family}.safetensors",
        steps="results/targets/{model}/{dataset}/{family}.parquet",
    log:
        "logs/targets/{model}/{dataset}/{family}.log",
    benchmark:
        "logs/targets/{model}/{dataset}/{family}.tsv"
    priority: lambda wc: edits.targets(seen(wc.model), wc.model).get((wc.dataset, wc.family), {"count": 1})["count"]
    threads: threads_of("targets")
    resources:
        gpu=GPU,
    params:
        config=lambda wc: slice_of(
            "targets", wc.model, "records",
            method=Derived(families.values_of(seen(wc.model), wc.family, wc.model),
                           sweeps.keys_of(seen(wc.model), wc.family, wc.model)),
            chosen=Derived({"only_known": edits.only_known(config, wc.model, wc.dataset)}
                           | edits.targets(seen(wc.model), wc.model).get((wc.dataset, wc.family), {}),
                           edits.keys_of(seen(wc.model), edits.readers(seen(wc.model), wc.model, "targets").get(
                               (wc.dataset, wc.family), [])))),
        weights=flags("manifest", "weights"),
        code=code_of("scripts/targets", "family"),
    shell:
        "python workflow/scripts/targets.py"
        " {params.weights:q}"
        " --facts {input.facts:q}"
        " --known-facts {input.known_facts:q}"
        " --prefixes {input.prefixes:q}"
        " --targets {output.targets:q}"
        " --steps {output.steps:q}"
        " --dataset {wildcards.dataset:q}"
        " --family {wildcards.family:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
