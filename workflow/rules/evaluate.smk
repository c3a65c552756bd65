"""Metrics per record and their summary (ROME Sec. 3.4, App. D).

IN   data/{model}/{facts,snippets}.parquet, results/edit/{model}/{dataset}/{method}/n{n}/{scores,texts}.parquet
OUT  results/evaluate/{model}/{dataset}/{method}/n{n}/records.parquet   one row per record
     results/evaluate/{model}/{dataset}/{method}/n{n}/summary.csv       one row per metric
"""


rule evaluate:
    """The metrics of one method, with confidence intervals."""
    input:
        facts=rules.dataset.output.facts,
        snippets=rules.dataset.output.snippets,
        scores=rules.edit.output.scores,
        texts=rules.edit.output.texts,
    output:
        records="results/evaluate/{model}/{dataset}/{method}/n{n}/records.parquet",
        summary="results/evaluate/{model}/{dataset}/{method}/n{n}/summary.csv",
    log:
        "logs/evaluate/{model}/{dataset}/{method}/n{n}.log",
    benchmark:
        "logs/evaluate/{model}/{dataset}/{method}/n{n}.tsv"
    params:
        config=lambda wc: slice_of("evaluate", wc.model, torch=False),
        code=code_of("scripts/evaluate"),
    shell:
        "python workflow/scripts/evaluate.py"
        " --facts {input.facts:q}"
        " --snippets {input.snippets:q}"
        " --scores {input.scores:q}"
        " --texts {input.texts:q}"
        " --records {output.records:q}"
        " --summary {output.summary:q}"
        " --dataset {wildcards.dataset:q}"
        " --method {wildcards.method:q}"
        " --n {wildcards.n:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
