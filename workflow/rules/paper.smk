"""Figures and tables of the papers: an item's code, its files and its line under `paper:` have the same name.

IN   the tables that the item reads `from` other stages (paper: of params.yaml)
     data/published.csv, what the papers print, for an item that reads `published`
OUT  figures/{model}/{paper}/{item}.{pdf,png,csv}   a figure and the numbers in it
     figures/{model}/{paper}/{item}.{csv,md}        a table
     figures/{model}/{paper}/{item}.json            numbers by which DVC compares runs
"""


def item_slice(wc):
    """The slice of a paper item: its options; of traces, variants and width of the window; of a sweep, its points."""
    spec = seen(wc.model)["paper"][wc.item]
    line = [f"paper.{wc.item}"]
    keys, more = [], {"points": Derived(sweeps.points(spec), line)} if "sweep" in spec else {}
    if "trace" in spec["from"]:
        shown = [key for name in trace_variants.of_item(spec) for key in trace_variants.keys_of(config, wc.model, name)]
        keys, more = ["trace_window"], more | {
            "variants": Derived(trace_variants.shown(config, wc.model, spec), [*line, *shown])}
    return slice_of("paper", wc.model, *keys, torch=False, paper=Derived(spec.get("options", {}), line), **more)


def tables_of(wc):
    """The tables that one paper item reads, as its `paper:` entry declares: flag -> files."""
    spec = seen(wc.model)["paper"][wc.item]
    found = {"published": PUBLISHED} if "published" in spec["from"] else {}
    traces = [{"variant": name} for name in trace_variants.of_item(spec)]
    for stage in [name for name in spec["from"] if name != "published"]:
        rule_name = {"records": "evaluate", "norms": "edit", "drift": "edit", "zsre": "dataset"}.get(stage, stage)
        rows = {"trace": traces, "edit": edits.of_item(spec), "evaluate": edits.of_item(spec)}.get(rule_name, [{}])
        for flag, name in ITEM_TABLES[stage].items():
            found[flag] = [getattr(rules, rule_name).output[name].format(model=wc.model, **row) for row in rows]
    return found


rule paper_figure:
    """Draw one figure."""
    input:
        unpack(tables_of),
    output:
        pdf="figures/{model}/{item}.pdf",
        png="figures/{model}/{item}.png",
        csv="figures/{model}/{item}.csv",
    log:
        "logs/paper/{model}/{item}.log",
    benchmark:
        "logs/paper/{model}/{item}.tsv"
    wildcard_constraints:
        item=one_of(item for item, spec in PAPER.items() if spec["kind"] == "figure"),
    params:
        config=item_slice,
        tables=flags(),
        code=code_of("figures/{item}"),
    shell:
        "python workflow/figures/{wildcards.item}.py"
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
        csv="figures/{model}/{item}.csv",
        md="figures/{model}/{item}.md",
    log:
        "logs/paper/{model}/{item}.log",
    benchmark:
        "logs/paper/{model}/{item}.tsv"
    wildcard_constraints:
        item=one_of(item for item, spec in PAPER.items() if spec["kind"] == "table"),
    params:
        config=item_slice,
        tables=flags(),
        code=code_of("figures/{item}"),
    shell:
        "python workflow/figures/{wildcards.item}.py"
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
        json="figures/{model}/{item}.json",
    log:
        "logs/paper/{model}/{item}.log",
    benchmark:
        "logs/paper/{model}/{item}.tsv"
    wildcard_constraints:
        item=one_of(item for item, spec in PAPER.items() if spec["kind"] == "metrics"),
    params:
        config=item_slice,
        tables=flags(),
        code=code_of("figures/{item}"),
    shell:
        "python workflow/figures/{wildcards.item}.py"
        " {params.tables:q}"
        " --json {output.json:q}"
        " --model {wildcards.model:q}"
        " --config {params.config:q}"
        " 2>&1 | tee {log:q} >&2"
