"""Trained KE and MEND editors (ROME App. E.3, E.4), on records that none of the edits uses.

IN   data/{model}/{facts,zsre,text}.parquet, results/known/{model}/{facts,zsre}.parquet, the model;
     the file of a published editor, where hypernet.published names one
OUT  results/hypernet/{model}/{name}.safetensors   the network, and in its metadata the records it was trained on
     results/hypernet/{model}/{name}.csv           losses of training and validation; none of a published editor
"""

from engram.settings import trained_editors


def published_of(wc):
    """The file of a published editor; none for one that is trained here."""
    path = trained_editors.published(config, wc.model, wc.name)
    return {"published": path} if path else {}


rule hypernet:
    """Train one editor, or take a published one over."""
    input:
        unpack(checkpoint),
        unpack(published_of),
        facts=rules.dataset.output.facts,
        zsre=rules.dataset.output.zsre,
        text=text_of,
        known_facts=rules.known.output.known_facts,
        known_zsre=rules.known.output.known_zsre,
    output:
        hypernet="results/hypernet/{model}/{name}.safetensors",
        loss="results/hypernet/{model}/{name}.csv",
    log:
        "logs/hypernet/{model}/{name}.log",
    benchmark:
        "logs/hypernet/{model}/{name}.tsv"
    wildcard_constraints:
        name=one_of(config["hypernet"]["editors"]),
    priority: 50  # long, and edits wait for it
    threads: threads_of("hypernet")
    resources:
        gpu=GPU,
    params:
        config=lambda wc: slice_of(
            "hypernet", wc.model, "records",
            hypernet=Derived(trained_editors.section(config, wc.model, wc.name),
                             trained_editors.keys_of(config, wc.model, wc.name)),
            chosen=Derived({"only_known": edits.only_known(config, wc.model, "counterfact")}
                           | edits.hypernets(seen(wc.model), wc.model).get(wc.name, {}),
                           edits.keys_of(seen(wc.model),
                                         edits.readers(seen(wc.model), wc.model, "hypernet").get(wc.name, [])))),
        weights=flags("manifest", "weights", "published"),
        code=code_of("scripts/hypernet"),
    shell:
        "python workflow/scripts/hypernet.py"
        " {params.weights:q}"
        " --facts {input.facts:q}"
        " --zsre {input.zsre:q}"
        " --text {input.text:q}"
        " --known-facts {input.known_facts:q}"
        " --known-zsre {input.known_zsre:q}"
        " --hypernet {output.hypernet:q}"
        " --loss {output.loss:q}"
        " --model {wildcards.model:q}"
        " --name {wildcards.name:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
