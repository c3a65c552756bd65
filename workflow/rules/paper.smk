"""Figures and tables of the papers: an item's code, its files and its line under `paper:` have the same name.

IN   the tables that the item reads `from` other stages (paper: of params.yaml)
OUT  figures/{model}/{paper}/{item}.{pdf,png,csv}   a figure and the numbers in it
     figures/{model}/{paper}/{item}.{csv,md}        a table
"""


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
