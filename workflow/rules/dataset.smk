"""Canonical tables of one model's source: generated, or parsed from a folder of the original files.

IN   the files of the source, if it is a folder
OUT  data/{model}/{facts,zsre,prompts,snippets,text,corpus}.parquet   schemas: engram.tables
"""


def source_of(wc):
    """The source block of a model, with its name."""
    name = config["models"][wc.model]["source"]
    return {"name": name} | config["sources"][name]


def raw_files(wc):
    """The original files of a source of kind `folder`; none for a generated one."""
    found = fetched.source_files(source_of(wc))
    return [str(found[key]) for key in fetched.TABLES if key in found]


rule dataset:
    """The canonical tables of one source."""
    input:
        raw=raw_files,
    output:
        facts="data/{model}/facts.parquet",
        zsre="data/{model}/zsre.parquet",
        prompts="data/{model}/prompts.parquet",
        snippets="data/{model}/snippets.parquet",
        text="data/{model}/text.parquet",
        corpus="data/{model}/corpus.parquet",
    log:
        "logs/dataset/{model}.log",
    benchmark:
        "logs/dataset/{model}.tsv"
    params:
        config=lambda wc: slice_of("dataset", wc.model, torch=False, source=source_of(wc)),
        code=code_of("scripts/dataset"),
    shell:
        "python workflow/scripts/dataset.py"
        " --raw {input.raw:q}"
        " --facts {output.facts:q}"
        " --zsre {output.zsre:q}"
        " --prompts {output.prompts:q}"
        " --snippets {output.snippets:q}"
        " --text {output.text:q}"
        " --corpus {output.corpus:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
