"""The command `engram`: check params.yaml or the machine, audit artifacts, show lineage and times, record or report a
run.
"""

import argparse
import os
import sys
from pathlib import Path


def check(args) -> int:
    from engram.settings import params

    params.check("params.yaml")
    if args.out:
        from engram.provenance import record_run

        record_run.write_valid(args.out)
    return 0


def audit(args) -> int:
    from engram.provenance import audit, rerun
    from engram.settings import params

    params.check("params.yaml")
    values = params.load("params.yaml")
    try:
        if args.deep is not None:
            return rerun.main(".", args.deep)
        verdicts = audit.full(".", values)
    except (RuntimeError, ValueError, OSError) as error:
        print(f"engram audit: {error}", file=sys.stderr)
        return 1
    print(audit.report(verdicts, every=not args.failed))
    return int(any(verdict.word in audit.FAILURES for verdict in verdicts))


def lineage(args) -> int:
    from engram.provenance import chain, number_lineage

    try:
        found = (number_lineage if args.value else chain).main(".", args.artifact, args.form)
    except (OSError, ValueError) as error:
        print(f"{args.artifact}: no lineage: {error}", file=sys.stderr)
        return 1
    print(found)
    return 0


def record(args) -> int:
    from engram.provenance import record_run

    return record_run.record(".")


def pipeline(args) -> int:
    from engram.provenance import dvc_yaml
    from engram.settings import params

    params.check("params.yaml")
    dvc_yaml.update("dvc.yaml", params.load("params.yaml"))
    return 0


def times(args) -> int:
    from engram.machine import timings
    from engram.settings import params

    try:
        print(timings.report(args.logs, params.load("params.yaml"), "data/published.csv"))
    except FileNotFoundError as error:
        print(f"engram times: {error}", file=sys.stderr)
        return 1
    return 0


def tidy(args) -> int:
    from engram.provenance import tidy
    from engram.settings import params

    params.check("params.yaml")
    for path in tidy.tidy(Path("."), params.load("params.yaml")["run"]["models"]):
        print(f"removed {path}")
    return 0


def readme(args) -> int:
    from engram.report import readme

    return readme.main(args.rest)


def report(args) -> int:
    from engram.job import io
    from engram.report import page
    from engram.settings import params

    params.check("params.yaml")
    try:
        if args.out.suffix != ".html":
            raise ValueError(f"--out {args.out}: right is the name of a file that ends in .html")
        content = page.build(".", params.load("params.yaml"))
        io.write(args.out, content)
    except (OSError, ValueError) as error:
        print(f"engram report: {error}", file=sys.stderr)
        return 1
    print(f"{args.out}: {len(content) / 1e6:.1f} MB, opens without network")
    return 0


def doctor(args) -> int:
    from engram.machine import doctor

    return doctor.main()


def reproducible(args) -> int:
    from engram.provenance import reproducible

    return reproducible.main(args.stage, args.against)


def cache(args) -> int:
    from engram.provenance import dvc_cache

    return dvc_cache.verify(".")


def advisories(args) -> int:
    from engram.machine import advisories

    return advisories.ask()


def crate(args) -> int:
    from engram.provenance import crate_verify
    from engram.settings import params

    try:
        if args.verify:
            return crate_verify.main(args.place, args.into)
        from engram.provenance import crate

        jobs = crate.export(".", args.place, params.load("params.yaml")["run"]["models"])
    except (OSError, ValueError) as error:
        print(f"engram crate: {error}", file=sys.stderr)
        return 1
    print(f"{args.place}: {jobs} jobs and all their files")
    return 0


def main(argv=None) -> int:
    """Run one command in the root of the repository; returns the exit status."""
    parser = argparse.ArgumentParser(prog="engram", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for run, text in (
        (check, "check params.yaml against its schema and itself"),
        (doctor, "check this machine against the active run, and say what will be built and what it takes"),
        (audit, "verify bytes, inputs, code, params, ledger and dvc.lock of all artifacts; none missing or extra"),
        (lineage, "show where one artifact, or one number of a figure, comes from"),
        (crate, "export the run as a Workflow Run RO-Crate, or verify one"),
        (record, "verify the artifacts of the active models and put the run into dvc.lock"),
        (pipeline, "write dvc.yaml: a stage for every item of `paper:`, with the code that it depends on"),
        (times, "show how long the jobs of the active models took, by stage and by editor"),
        (tidy, "remove artifacts of the active models that no rule makes any more"),
        (reproducible, "run twice in scratch folders, with other cores and shards, and compare every byte"),
        (cache, "hash every object of DVC's cache; a damaged one is removed, or made anew from the workspace"),
        (report, "make one HTML page of the active models' figures, tables, prompts and edits"),
        (advisories, "ask for known vulnerabilities of the packages in requirements.lock; 3: could not be asked"),
        (readme, "fill the parts of README.md that a run decides"),
    ):
        command = commands.add_parser(run.__name__, help=text, description=text, add_help=run is not readme)
        command.set_defaults(run=run)
        _options(run, command)
    args, rest = parser.parse_known_args(argv)
    if rest and args.run is not readme:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    args.rest = rest
    return run_of(args)


def run_of(args) -> int:
    """Run the command that was asked for; errors of files, settings and DVC in one line. A reader of what is printed
    may leave before its end, as `head` does: the status is then 141, as of any program that SIGPIPE ends, and nothing
    is said.
    """
    try:
        status = args.run(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still in the buffer goes nowhere
        return 141
    except KeyboardInterrupt:
        print(f"engram {args.run.__name__}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if not isinstance(error, (OSError, ValueError)) and "DvcException" not in [
            kind.__name__ for kind in type(error).__mro__
        ]:
            raise
        print(f"engram {args.run.__name__}: {error}", file=sys.stderr)
        return 1


def _options(run, command) -> None:
    """What each command takes."""
    if run is check:
        command.add_argument("--out", type=Path, help="file that says with which schema params.yaml was checked")
    if run is times:
        command.add_argument("--logs", type=Path, default=Path("logs"), help="where Snakemake has put the benchmarks")
    if run is reproducible:
        command.add_argument("--stage", help="run all jobs of one stage and what they need; without: everything")
        command.add_argument("--against", type=Path, help="compare this folder with another run's instead of running")
    if run is audit:
        command.add_argument(
            "--deep",
            nargs="?",
            const="1",
            metavar="PATH|N",
            help="make one artifact, or those of N sampled jobs, again in a scratch copy and compare bytes",
        )
        command.add_argument("--failed", action="store_true", help="print no line for what is in order")
    if run is lineage:
        command.add_argument(
            "artifact", help="a file; with --value figures/….csv:row,column (row: from 1, or its words)"
        )
        command.add_argument(
            "--value", action="store_true", help="go from a number of a figure's csv to the rows behind it"
        )
        forms = command.add_mutually_exclusive_group()
        for form, what in (("json", "for machines"), ("mermaid", "as a Mermaid flowchart"), ("dot", "for graphviz")):
            forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, default="tree", help=what)
    if run is report:
        command.add_argument("--out", type=Path, default=Path("report.html"), help="the page (default: report.html)")
    if run is crate:
        command.add_argument(
            "place", type=Path, help="a folder or .zip that is not there yet; with --verify, one that is"
        )
        command.add_argument(
            "--verify", action="store_true", help="hash every file of a crate, and check its chain of records"
        )
        command.add_argument(
            "--into", type=Path, help="with --verify: put a crate that is in order there, a new folder"
        )
