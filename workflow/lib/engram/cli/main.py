"""The command `engram`: explore what a run has found, prepare and record a run, verify what is here."""

import argparse
import os
import sys
from collections.abc import Sequence

from engram.cli import explore, run, verify

GROUPS = (explore, run, verify)
PLAIN = {"OSError", "ValueError", "RuntimeError", "DvcException"}  # errors that are said in one line


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command in the root of the repository; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="engram", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="command", title="commands", help="one of those below")
    lines: list[str] = []
    for group in GROUPS:
        known = set(commands.choices)
        group.register(commands)
        added = {name: command for name, command in commands.choices.items() if name not in known}
        lines += [f"\n{group.__name__.rpartition('.')[2]}:"]
        lines += [f"  {name:<14}{command.description}" for name, command in added.items()]
    parser.epilog = "\n".join(lines).lstrip()
    args, rest = parser.parse_known_args(argv)
    if rest and args.run is not run.readme:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    args.rest = rest
    return run_of(args)


def run_of(args: argparse.Namespace) -> int:
    """Run the command `args.run`; returns the exit status. Errors of files, settings, Snakemake and DVC are said in one
    line. A reader of what is printed may leave before its end, as `head` does: the status is then 141, as of any
    program that SIGPIPE ends, and nothing is said.
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
        if not PLAIN & {kind.__name__ for kind in type(error).__mro__}:
            raise
        print(f"engram {args.run.__name__}: {error}", file=sys.stderr)
        return 1
