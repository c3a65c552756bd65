"""Raw outcomes of edited models: no metric is computed here.

IN   data/{model}/{facts,zsre}.parquet, results/known/{model}/{facts,zsre}.parquet, the method's needs, the model
     data/{model}/reversed.parquet for CounterFact; data/{model}/heldout.parquet where an item reads `drift`
OUT  results/edit/{model}/{dataset}/{method}/n{n}/scores.parquet   one row per record, prompt, object (zsRE: and token)
     results/edit/{model}/{dataset}/{method}/n{n}/texts.parquet    one row per record and generation prompt (zsRE: none)
     results/edit/{model}/{dataset}/{method}/n{n}/norms.parquet    one row per record and changed weight
     results/edit/{model}/{dataset}/{method}/n{n}/drift.parquet    one row per edited model and passage
     n: 1, each fact alone; 100, that many at once; 1000by10, in batches one after the other, read along the way;
     100of3, of the relation with the third most records
"""


def texts_of_edit(wc):
    """How many records' texts are generated, if not those of all."""
    count = edits.texts(seen(wc.model), wc.model, wc.dataset, wc.method, FactGroup.parse(wc.n))
    return {} if count is None else {"texts": Derived(count, wanted_by(wc))}


def wanted_by(wc):
    """The keys of params.yaml that say that there is this edit, and of how many records."""
    return edits.keys_of(seen(wc.model), [{"dataset": wc.dataset, "method": wc.method, "n": FactGroup.parse(wc.n)}])


def asked_of(wc):
    """What edited models are asked besides the record: the reverse question, passages that they may have forgotten."""
    tables, files = rules.dataset.output, {}
    if wc.dataset == "counterfact":
        files["reversed"] = tables.reversed
    if edits.drifts(seen(wc.model), wc.dataset, wc.method, FactGroup.parse(wc.n)):
        files["heldout"] = (rules.sampled.output if stages.writes_text(config, wc.model) else tables).heldout
    return {name: path.format(**wc) for name, path in files.items()}


rule edit:
    """Edit, and write down what the edited model says."""
    input:
        unpack(checkpoint),
        unpack(aids_of),
        unpack(records_of),
        unpack(asked_of),
    output:
        scores="results/edit/{model}/{dataset}/{method}/n{n}/scores.parquet",
        texts="results/edit/{model}/{dataset}/{method}/n{n}/texts.parquet",
        norms="results/edit/{model}/{dataset}/{method}/n{n}/norms.parquet",
        drift="results/edit/{model}/{dataset}/{method}/n{n}/drift.parquet",
    log:
        "logs/edit/{model}/{dataset}/{method}/n{n}.log",
    benchmark:
        "logs/edit/{model}/{dataset}/{method}/n{n}.tsv"
    priority: lambda wc: FactGroup.parse(wc.n).facts  # the longest first, so that none is left for the end
    threads: threads_of("edit")
    resources:
        gpu=GPU,
    params:
        config=lambda wc: slice_of(
            "edit", wc.model, "records",
            method=Derived(families.method_of(seen(wc.model), wc.method, wc.model),
                           sweeps.keys_of(seen(wc.model), wc.method, wc.model)),
            chosen=Derived({"count": edits.count(
                                seen(wc.model), wc.model, wc.dataset, wc.method, FactGroup.parse(wc.n)),
                            "only_known": edits.only_known(config, wc.model, wc.dataset)}, wanted_by(wc)),
            **texts_of_edit(wc)),
        aids=flags("prefixes", "moments", "counts", "targets", "hypernet"),
        asked=flags("reversed", "heldout"),
        weights=flags("manifest", "weights"),
        code=code_of("scripts/edit", "method"),
    shell:
        "python workflow/scripts/edit.py"
        " {params.weights:q}"
        " {params.aids:q}"
        " {params.asked:q}"
        " --facts {input.facts:q}"
        " --known-facts {input.known_facts:q}"
        " --scores {output.scores:q}"
        " --texts {output.texts:q}"
        " --norms {output.norms:q}"
        " --drift {output.drift:q}"
        " --dataset {wildcards.dataset:q}"
        " --method {wildcards.method:q}"
        " --n {wildcards.n:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
