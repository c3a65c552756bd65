"""Commands around a run of Snakemake: before it, and when it has ended."""

import argparse
import sys
from pathlib import Path

from engram.cli.command import Commands, add, values


def register(commands: Commands) -> None:
    """Add the commands of this module, each with its options."""
    parser = add(commands, check)
    parser.add_argument("--out", type=Path, help="file that says with which schema params.yaml was checked")
    add(commands, doctor)
    add(commands, record)
    add(commands, pipeline)
    add(commands, stages)
    add(commands, status)
    add(commands, tidy)
    add(commands, tables)
    add(commands, readme, add_help=False)  # it reads its own options


def check(args: argparse.Namespace) -> int:
    """Check params.yaml against its schema and itself; with --out also that dvc.yaml is of these params."""
    settings = values()
    if not args.out:
        return 0
    from engram.provenance import dvc_yaml, record_run

    if dvc_yaml.update("dvc.yaml", settings):  # DVC has read the old one, and would not see what is new in params.yaml
        print("dvc.yaml was of other params: it is written anew, give the command to DVC once more", file=sys.stderr)
        return 1
    record_run.write_valid(args.out)
    return 0


def doctor(args: argparse.Namespace) -> int:
    """Check this machine against the active run, and say what will be built and what it takes."""
    from engram.machine import doctor

    return doctor.main()


def record(args: argparse.Namespace) -> int:
    """Verify the artifacts of the active models and put the run into dvc.lock."""
    from engram.provenance import record_run

    return record_run.record(".")


def pipeline(args: argparse.Namespace) -> int:
    """Write dvc.yaml: a stage for every stage word and item of `paper:`, as Snakemake's jobs have it."""
    from engram.provenance import dvc_yaml

    dvc_yaml.update("dvc.yaml", values())
    return 0


def stages(args: argparse.Namespace) -> int:
    """Print the stages of DVC of the active models, for `dvc repro`."""
    from engram.provenance import dvc_lock

    print("\n".join(dvc_lock.stages(".", values())))
    return 0


def status(args: argparse.Namespace) -> int:
    """Say whether DVC finds the artifacts of the active models as dvc.lock has them; 1 if not."""
    from engram.provenance import record_run

    return record_run.status(".")


def tidy(args: argparse.Namespace) -> int:
    """Remove artifacts of the active models that no rule makes any more."""
    from engram.provenance import tidy

    for path in tidy.tidy(".", values()["run"]["models"]):
        print(f"removed {path}")
    return 0


def tables(args: argparse.Namespace) -> int:
    """Write docs/tables.md: the columns of every table that a stage makes, from their schemas."""
    from engram.job import io, schema_page

    io.write(Path("docs/tables.md"), schema_page.page())
    return 0


def readme(args: argparse.Namespace) -> int:
    """Fill the parts of README.md that a run decides."""
    from engram.report import readme

    return readme.main(args.rest)
