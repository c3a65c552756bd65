"""Canonical tables of one model's source: generated, parsed from a folder of the original files, or made of an atlas.

IN   of a source that is a folder: its files, and data/wordings.csv, its relations in both orders
     of a source that is an atlas: its facts and wordings (data/atlas/{facts,wordings}.csv), and its text, if it has one
OUT  data/{model}/{facts,zsre,prompts,snippets,text,corpus,heldout,reversed,hops}.parquet
     schemas: engram.job.schemas
"""


def source_of(wc):
    """The source block of a model, with its name."""
    name = config["models"][wc.model]["source"]
    return {"name": name} | config["sources"][name]


def raw_files(wc):
    """The files of a source of kind `folder` or `atlas`; none for a generated one."""
    found = original_files.source_files(source_of(wc))
    return [str(found[key]) for key in original_files.TABLES if key in found]


def wordings_of(wc):
    """How relations are asked in the other order, for a source that has no wordings of its own."""
    return {"wordings": WORDINGS} if source_of(wc)["kind"] == "folder" else {}


rule dataset:
    """The canonical tables of one source."""
    input:
        unpack(wordings_of),
        raw=raw_files,
    output:
        facts="data/{model}/facts.parquet",
        zsre="data/{model}/zsre.parquet",
        prompts="data/{model}/prompts.parquet",
        snippets="data/{model}/snippets.parquet",
        text="data/{model}/text.parquet",
        corpus="data/{model}/corpus.parquet",
        heldout="data/{model}/heldout.parquet",
        reversed="data/{model}/reversed.parquet",
        hops="data/{model}/hops.parquet",
    log:
        "logs/dataset/{model}.log",
    benchmark:
        "logs/dataset/{model}.tsv"
    params:
        config=lambda wc: slice_of(
            "dataset", wc.model, torch=False,
            source=Derived(source_of(wc), original_files.source_keys(config, wc.model))),
        wordings=flags("wordings"),
        code=code_of("scripts/dataset"),
    shell:
        "python workflow/scripts/dataset.py"
        " --raw {input.raw:q}"
        " {params.wordings:q}"
        " --facts {output.facts:q}"
        " --zsre {output.zsre:q}"
        " --prompts {output.prompts:q}"
        " --snippets {output.snippets:q}"
        " --text {output.text:q}"
        " --corpus {output.corpus:q}"
        " --heldout {output.heldout:q}"
        " --reversed {output.reversed:q}"
        " --hops {output.hops:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
