"""What the model already answers correctly (ROME App. B.1).

IN   data/{model}/{prompts,facts,zsre}.parquet, the model
OUT  results/known/{model}/prompts.parquet   one row per fact prompt: answer token, probability, correct
     results/known/{model}/facts.parquet     one row per CounterFact record: correct, probability
     results/known/{model}/zsre.parquet      one row per zsRE record: correct, probability
"""


rule known:
    """The fact prompts and the records that the model answers correctly."""
    input:
        unpack(checkpoint),
        prompts=rules.dataset.output.prompts,
        facts=rules.dataset.output.facts,
        zsre=rules.dataset.output.zsre,
    output:
        known_prompts="results/known/{model}/prompts.parquet",
        known_facts="results/known/{model}/facts.parquet",
        known_zsre="results/known/{model}/zsre.parquet",
    log:
        "logs/known/{model}.log",
    benchmark:
        "logs/known/{model}.tsv"
    threads: threads_of("known")
    resources:
        gpu=GPU,
    params:
        config=lambda wc: slice_of("known", wc.model),
        weights=flags("manifest", "weights"),
        code=code_of("scripts/known"),
    shell:
        "python workflow/scripts/known.py"
        " {params.weights:q}"
        " --prompts {input.prompts:q}"
        " --facts {input.facts:q}"
        " --zsre {input.zsre:q}"
        " --known-prompts {output.known_prompts:q}"
        " --known-facts {output.known_facts:q}"
        " --known-zsre {output.known_zsre:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
