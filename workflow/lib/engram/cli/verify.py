"""Commands that check what is here, or make it again and compare."""

import argparse
from pathlib import Path

from engram.cli.command import Commands, add, values


def register(commands: Commands) -> None:
    """Add the commands of this module, each with its options."""
    parser = add(commands, audit)
    deep = "make one artifact, or those of N sampled jobs, again in a scratch copy and compare bytes"
    parser.add_argument("--deep", nargs="?", const="1", metavar="PATH|N", help=deep)
    parser.add_argument("--failed", action="store_true", help="print no line for what is in order")
    parser = add(commands, reproducible)
    parser.add_argument("--stage", help="run all jobs of one stage and what they need; without: everything")
    parser.add_argument("--against", type=Path, help="compare this folder with another run's instead of running")
    parser = add(commands, crate)
    parser.add_argument("place", type=Path, help="a folder or .zip that is not there yet; with --verify, one that is")
    parser.add_argument("--verify", action="store_true", help="hash every file of a crate, and check its records")
    parser.add_argument("--into", type=Path, help="with --verify: put a crate that is in order there, a new folder")
    add(commands, cache)
    add(commands, advisories)


def audit(args: argparse.Namespace) -> int:
    """Verify bytes, inputs, code, params, ledger and dvc.lock of all artifacts; none missing or extra."""
    from engram.provenance import audit, rerun

    settings = values()
    if args.deep is not None:
        return rerun.main(".", args.deep)
    verdicts = audit.full(".", settings)
    print(audit.report(verdicts, every=not args.failed))
    return int(any(verdict.word in audit.FAILURES for verdict in verdicts))


def reproducible(args: argparse.Namespace) -> int:
    """Run twice in scratch folders, with other cores and shards, and compare every byte."""
    from engram.provenance import reproducible

    return reproducible.main(args.stage, args.against)


def crate(args: argparse.Namespace) -> int:
    """Export the run as a Workflow Run RO-Crate, or verify one."""
    from engram.provenance import crate_verify

    if args.verify:
        return crate_verify.main(args.place, args.into)
    from engram.provenance import crate
    from engram.settings import params

    jobs = crate.export(".", args.place, params.load("params.yaml")["run"]["models"])
    print(f"{args.place}: {jobs} jobs and all their files")
    return 0


def cache(args: argparse.Namespace) -> int:
    """Hash every object of DVC's cache; a damaged one is removed, or made anew from the workspace."""
    from engram.provenance import dvc_cache

    return dvc_cache.verify(".")


def advisories(args: argparse.Namespace) -> int:
    """Ask for known vulnerabilities of the packages in requirements.lock; 3: could not be asked."""
    from engram.machine import advisories

    return advisories.ask()
