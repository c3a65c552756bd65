"""Metrics per record and their summary (ROME Sec. 3.4, App. D).

IN   results/edit/{model}/{dataset}/{method}/n{n}/scores.parquet
     where texts are generated (CounterFact): {texts,facts,snippets}.parquet, and the TF-IDF tables of the source
OUT  results/evaluate/{model}/{dataset}/{method}/n{n}/records.parquet   one row per record
     results/evaluate/{model}/{dataset}/{method}/n{n}/summary.csv       one row per metric
"""


def texts_of(wc):
    """The generated texts of a dataset and what they are compared with; zsRE has none."""
    if wc.dataset == "zsre":
        return {}
    tables = rules.dataset.output
    files = {"texts": rules.edit.output.texts, "facts": tables.facts, "snippets": tables.snippets}
    published = original_files.source_files(source_of(wc))
    files |= {name: str(published[name]) for name in ("idf", "vocabulary") if name in published}
    return {name: path.format(**wc) for name, path in files.items()}


rule evaluate:
    """The metrics of one method, with confidence intervals."""
    input:
        unpack(texts_of),
        scores=rules.edit.output.scores,
    output:
        records="results/evaluate/{model}/{dataset}/{method}/n{n}/records.parquet",
        summary="results/evaluate/{model}/{dataset}/{method}/n{n}/summary.csv",
    log:
        "logs/evaluate/{model}/{dataset}/{method}/n{n}.log",
    benchmark:
        "logs/evaluate/{model}/{dataset}/{method}/n{n}.tsv"
    params:
        config=lambda wc: slice_of("evaluate", wc.model, torch=False, decided_by=wanted_by(wc)),
        texts=flags("texts", "facts", "snippets", "idf", "vocabulary"),
        code=code_of("scripts/evaluate"),
    shell:
        "python workflow/scripts/evaluate.py"
        " {params.texts:q}"
        " --scores {input.scores:q}"
        " --records {output.records:q}"
        " --summary {output.summary:q}"
        " --dataset {wildcards.dataset:q}"
        " --method {wildcards.method:q}"
        " --n {wildcards.n:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
