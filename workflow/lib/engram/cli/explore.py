"""Commands that show what a run has found: lineage of files and numbers, times, a page."""

import argparse
import sys
from pathlib import Path

from engram.cli.command import Commands, add, values


def register(commands: Commands) -> None:
    """Add the commands of this module, each with its options."""
    parser = add(commands, lineage)
    parser.add_argument("artifact", help="a file; with --value figures/….csv:row,column (row: from 1, or its words)")
    parser.add_argument("--value", action="store_true", help="go from a number of a figure's csv to the rows behind it")
    forms = parser.add_mutually_exclusive_group()
    for form, what in (("json", "for machines"), ("mermaid", "as a Mermaid flowchart"), ("dot", "for graphviz")):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, default="tree", help=what)
    parser = add(commands, times)
    parser.add_argument("--logs", type=Path, default=Path("logs"), help="where Snakemake has put the benchmarks")
    parser = add(commands, report)
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page (default: report.html)")


def lineage(args: argparse.Namespace) -> int:
    """Show where one artifact, or one number of a figure, comes from."""
    from engram.provenance import chain, number_lineage

    try:
        text = (number_lineage if args.value else chain).main(".", args.artifact, args.form)
    except (OSError, ValueError) as error:
        print(f"{args.artifact}: no lineage: {error}", file=sys.stderr)
        return 1
    print(text)
    return 0


def times(args: argparse.Namespace) -> int:
    """Show how long the jobs of the active models took, by stage and by editor."""
    from engram.machine import timings

    print(timings.report(args.logs, values(), "data/published.csv"))
    return 0


def report(args: argparse.Namespace) -> int:
    """Make one HTML page of the active models' figures, tables, prompts and edits."""
    from engram.job import io
    from engram.report import page

    if args.out.suffix != ".html":
        raise ValueError(f"--out {args.out}: right is the name of a file that ends in .html")
    content = page.build(".", values())
    io.write(args.out, content)
    print(f"{args.out}: {len(content) / 1e6:.1f} MB, opens without network")
    return 0
