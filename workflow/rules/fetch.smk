"""The original files that the active models and their sources read, each from the first of its places that has it.

IN   the places of the file (`fetch.files` of params.yaml); the folder that ENGRAM_DATA_DIR names comes first; with
     `accepted: false` it is not made
OUT  data/original/{name}                    a link to the file, checked: size, hash, schema, number of records
     results/fetch/{name}/receipt.json       which place gave it, its size, hash and number of records
     results/fetch/{name}/records.parquet    id and hash of each record: another version is a visible difference
"""


rule fetch:
    """One original file; on a cluster, fetched by the node that runs Snakemake, as others may have no network."""
    localrule: True
    output:
        original="data/original/{name}",
        receipt="results/fetch/{name}/receipt.json",
        records="results/fetch/{name}/records.parquet",
    log:
        "logs/fetch/{name}.log",
    benchmark:
        "logs/fetch/{name}.tsv"
    wildcard_constraints:
        name=one_of(config["fetch"]["files"]),
    params:
        config=lambda wc: slices.Slice(
            {"fetch": original_files.section(config, wc.name)}, original_files.section_keys(config, wc.name)),
        code=code_of("scripts/fetch"),
    shell:
        "python workflow/scripts/fetch.py"
        " --original {output.original:q}"
        " --receipt {output.receipt:q}"
        " --records {output.records:q}"
        " --name {wildcards.name:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
