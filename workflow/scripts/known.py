"""Which fact prompts and which records the model answers correctly."""

import sys
from collections.abc import Sequence

from engram.job import arguments, io, schemas
from engram.model import known, loading, runtime


def main(argv: Sequence[str] | None = None) -> None:
    """Ask the model all prompts and records, and write what it knows."""
    job = arguments.parse(
        __file__,
        __doc__,
        argv,
        inputs=["manifest", "weights?", "prompts", "facts", "zsre"],
        keys=["model"],
        outputs=["known-prompts", "known-facts", "known-zsre"],
    )
    lm = loading.open_lm(job, runtime.setup(job))
    rows = job.config["known"]["batch_rows"]
    tables = {
        "prompts": known.prompts(lm, io.read_table(job.inputs.prompts, schemas.PROMPTS), rows),
        "facts": known.records(lm, io.read_table(job.inputs.facts, schemas.FACTS), "counterfact", rows),
        "zsre": known.records(lm, io.read_table(job.inputs.zsre, schemas.ZSRE), "zsre", rows),
    }
    for name, table in tables.items():
        print(f"{lm.name} answers {table['correct'].sum()} of {len(table)} {name} correctly", file=sys.stderr)
        job.write(f"known_{name}", table)


if __name__ == "__main__":
    main()
