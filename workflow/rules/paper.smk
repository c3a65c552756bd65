"""Figures and tables of the papers: an item's code, its files and its line under `paper:` have the same name.

IN   the tables that the item reads `from` other stages (paper: of params.yaml)
     data/published.csv, what the papers print, for an item that reads `published`
OUT  figures/{model}/{paper}/{item}.{pdf,png,csv}   a figure and the numbers in it
     figures/{model}/{paper}/{item}.{csv,md}        a table
     figures/{model}/{paper}/{item}.json            numbers by which DVC compares runs
"""


def of_kind(kind):
    """Constraints on the wildcards of the items of one kind; the name of an item is `{paper}/{item}`."""
    names = {}
    for paper, item in (name.split("/") for name, spec in PAPER.items() if spec["kind"] == kind):
        names.setdefault(paper, []).append(item)
    papers = (rf"{paper}(?=/(\.lineage/)?({one_of(of_paper)})\.)" for paper, of_paper in names.items())
    return {"paper": "|".join(papers) or one_of([]), "item": one_of(item for found in names.values() for item in found)}


def name_of(wc):
    return f"{wc.paper}/{wc.item}"


def item_slice(wc):
    """The slice of a paper item: its options; of traces, variants and width of the window; of a sweep, its points."""
    spec, line = seen(wc.model)["paper"][name_of(wc)], [f"paper.{name_of(wc)}"]
    keys, more = [], {"points": Derived(sweeps.points(spec), line)} if "sweep" in spec else {}
    if "trace" in spec["from"]:
        keys, more = ["trace_window"], more | {
            "variants": Derived(trace_variants.shown(config, wc.model, spec),
                                [*line, *trace_variants.keys_of_item(config, wc.model, spec)])}
    return slice_of("paper", wc.model, *keys, torch=False, paper=Derived(spec.get("options", {}), line), **more)


def tables_of(wc):
    """The tables that one paper item reads, as its `paper:` entry declares: flag -> files."""
    spec = seen(wc.model)["paper"][name_of(wc)]
    found = {"published": PUBLISHED} if "published" in spec["from"] else {}
    edited = edits.of_item(spec)
    rows = {"trace": [{"variant": name} for name in trace_variants.of_item(spec)], "edit": edited, "evaluate": edited}
    for read in (stages.READ[word] for word in spec["from"] if word in stages.READ):
        for flag, name in read.files.items():
            path = getattr(rules, read.stage).output[name]
            found[flag] = [path.format(model=wc.model, **row) for row in rows.get(read.stage, [{}])]
    return found


rule paper_figure:
    """Draw one figure."""
    input:
        unpack(tables_of),
    output:
        pdf="figures/{model}/{paper}/{item}.pdf",
        png="figures/{model}/{paper}/{item}.png",
        csv="figures/{model}/{paper}/{item}.csv",
    log:
        "logs/paper/{model}/{paper}/{item}.log",
    benchmark:
        "logs/paper/{model}/{paper}/{item}.tsv"
    wildcard_constraints:
        **of_kind("figure"),
    params:
        config=item_slice,
        tables=flags(),
        code=code_of("figures/{paper}/{item}"),
    shell:
        "python workflow/figures/{wildcards.paper}/{wildcards.item}.py"
        " {params.tables:q}"
        " --pdf {output.pdf:q}"
        " --png {output.png:q}"
        " --csv {output.csv:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"


rule paper_table:
    """Write one table."""
    input:
        unpack(tables_of),
    output:
        csv="figures/{model}/{paper}/{item}.csv",
        md="figures/{model}/{paper}/{item}.md",
    log:
        "logs/paper/{model}/{paper}/{item}.log",
    benchmark:
        "logs/paper/{model}/{paper}/{item}.tsv"
    wildcard_constraints:
        **of_kind("table"),
    params:
        config=item_slice,
        tables=flags(),
        code=code_of("figures/{paper}/{item}"),
    shell:
        "python workflow/figures/{wildcards.paper}/{wildcards.item}.py"
        " {params.tables:q}"
        " --csv {output.csv:q}"
        " --md {output.md:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"


rule paper_metrics:
    """Write the numbers by which runs are compared."""
    input:
        unpack(tables_of),
    output:
        json="figures/{model}/{paper}/{item}.json",
    log:
        "logs/paper/{model}/{paper}/{item}.log",
    benchmark:
        "logs/paper/{model}/{paper}/{item}.tsv"
    wildcard_constraints:
        **of_kind("metrics"),
    params:
        config=item_slice,
        tables=flags(),
        code=code_of("figures/{paper}/{item}"),
    shell:
        "python workflow/figures/{wildcards.paper}/{wildcards.item}.py"
        " {params.tables:q}"
        " --json {output.json:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
