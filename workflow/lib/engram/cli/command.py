"""What the groups of commands share: a command is a function of its arguments, its docstring is its help."""

import argparse
from collections.abc import Callable

Run = Callable[[argparse.Namespace], int]  # returns the exit status
Commands = argparse._SubParsersAction  # argparse has no public name for it


def add(commands: Commands, run: Run, add_help: bool = True) -> argparse.ArgumentParser:
    """A command named as its function, which `args.run` then is; returns its parser, for the command's own options."""
    parser = commands.add_parser(run.__name__, description=run.__doc__, add_help=add_help)
    parser.set_defaults(run=run)
    return parser


def values() -> dict:
    """The contents of params.yaml; with a wrong one the process ends with status 2 and a readable message."""
    from engram.settings import params

    params.check("params.yaml")
    return params.load("params.yaml")
