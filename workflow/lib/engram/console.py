"""The command `engram`: check params.yaml or the machine, audit artifacts, show lineage and times, record or report a run."""

import argparse
import sys
from pathlib import Path


def check(args) -> int:
    from engram import params

    params.check("params.yaml")
    if args.out:
        params.write_valid(args.out)
    return 0


def audit(args) -> int:
    from engram import audit

    verdicts = audit.verify(".")
    print(audit.report(verdicts))
    return int(any(verdict.word != audit.OK for verdict in verdicts))


def lineage(args) -> int:
    from engram import audit

    try:
        print(audit.tree(".", args.artifact))
    except (OSError, ValueError) as error:
        print(f"{args.artifact}: no lineage: {error}", file=sys.stderr)
        return 1
    return 0


def record(args) -> int:
    from engram import record

    return record.record(".")


def pipeline(args) -> int:
    from engram import params, pipeline

    params.check("params.yaml")
    pipeline.update("dvc.yaml", params.load("params.yaml"))
    return 0


def times(args) -> int:
    from engram import params, pipeline, times

    try:
        print(times.report(args.logs, params.load("params.yaml"), list(pipeline.STAGES), "data/published.csv"))
    except FileNotFoundError as error:
        print(f"engram times: {error}", file=sys.stderr)
        return 1
    return 0


def tidy(args) -> int:
    from engram import params, tidy

    params.check("params.yaml")
    for path in tidy.tidy(Path("."), params.load("params.yaml")["run"]["models"]):
        print(f"removed {path}")
    return 0


def readme(args) -> int:
    from engram import readme

    return readme.main(args.rest)


def report(args) -> int:
    from engram import io, params
    from engram.report import page

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
    from engram import doctor

    return doctor.main()


def reproducible(args) -> int:
    from engram import reproducible

    return reproducible.main(args.stage, args.against)


def cache(args) -> int:
    from engram import cache

    return cache.verify(".")


def advisories(args) -> int:
    from engram import advisories

    return advisories.ask()


def main(argv=None) -> int:
    """Run one command in the root of the repository; returns the exit status."""
    parser = argparse.ArgumentParser(prog="engram", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for run, text in ((check, "check params.yaml against its schema and itself"),
                      (doctor, "check this machine against the active run, and say what will be built and what it takes"),
                      (audit, "hash every artifact again and compare with its lineage record"),
                      (lineage, "show where one artifact comes from, as a tree"),
                      (record, "verify the artifacts of the active models and put the run into dvc.lock"),
                      (pipeline, "write dvc.yaml: a stage for every item of `paper:`, with the code that it depends on"),
                      (times, "show how long the jobs of the active models took, by stage and by editor"),
                      (tidy, "remove artifacts of the active models that no rule makes any more"),
                      (reproducible, "run twice in scratch folders, with other cores and shards, and compare every byte"),
                      (cache, "hash every object of DVC's cache; a damaged one is removed, or made anew from the workspace"),
                      (report, "make one HTML page of the active models' figures, tables, prompts and edits"),
                      (advisories, "ask for known vulnerabilities of the packages in requirements.lock; 3: could not be asked"),
                      (readme, "fill the parts of README.md that a run decides")):
        command = commands.add_parser(run.__name__, help=text, description=text, add_help=run is not readme)
        command.set_defaults(run=run)
        if run is check:
            command.add_argument("--out", type=Path, help="file that says with which schema params.yaml was checked")
        if run is times:
            command.add_argument("--logs", type=Path, default=Path("logs"), help="where Snakemake has put the benchmarks")
        if run is reproducible:
            command.add_argument("--stage", help="run all jobs of one stage and what they need; without: everything")
            command.add_argument("--against", type=Path, help="compare this folder with another run's instead of running")
        if run is report:
            command.add_argument("--out", type=Path, default=Path("report.html"), help="the page (default: report.html)")
        if run is lineage:
            command.add_argument("artifact", type=Path)
    args, rest = parser.parse_known_args(argv)
    if rest and args.run is not readme:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    args.rest = rest
    return run_of(args)


def run_of(args) -> int:
    """Run the command that was asked for; errors of files, settings and DVC in one line."""
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print(f"engram {args.run.__name__}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if not isinstance(error, (OSError, ValueError)) and "DvcException" not in [kind.__name__ for kind in type(error).__mro__]:
            raise
        print(f"engram {args.run.__name__}: {error}", file=sys.stderr)
        return 1
