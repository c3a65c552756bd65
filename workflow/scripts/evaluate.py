"""Metrics of one method per record, and their means with confidence intervals."""

from collections.abc import Sequence

from engram.evaluation import metrics
from engram.evaluation.derivation import Tables
from engram.job import arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Compute the metrics of every record and their summary, and write both."""
    job = arguments.parse(
        __file__,
        __doc__,
        argv,
        inputs=["facts?", "snippets?", "idf?", "vocabulary?", "scores", "texts?"],
        keys=["model", "dataset", "method", "n"],
        outputs=["records", "summary"],
    )
    tables = Tables(vars(job.inputs))
    for name, derivation in metrics.derivations(job).items():
        tables[name] = derivation.compute(tables, job)
        job.write(name, tables[name])


if __name__ == "__main__":
    main()
